//! What is retained, and what a new subscription is sent of it.
use super::filters::{levels, matches};
use super::semantics::Message;
use super::session::{Certainty, Subscription};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub struct Scan {
    pub subscription: Subscription,
    /// The topics whose messages came.
    pub came: Vec<String>,
    pub began: u64,
    pub certainty: Certainty,
    /// Through, but that is not stored yet.
    pub through: bool,
}

/// What was retained on a topic since everything was stored last; the last one counts.
#[derive(Debug, Clone, Default)]
pub struct Retained(pub Vec<Option<Kept>>);

#[derive(Debug, Clone, Copy)]
pub struct Kept {
    pub number: usize,
    pub expires_at: Option<u64>,
    pub since: u64,
}

impl Scan {
    /// What is retained and has not come yet.
    pub fn due(
        &self,
        client: usize,
        messages: &[Message],
        retained: &BTreeMap<&'static str, Retained>,
        now: u64,
    ) -> Vec<(&'static str, Kept)> {
        if self.through {
            return Vec::new();
        }
        let mut due: Vec<(&'static str, Kept)> = retained
            .iter()
            .filter_map(|(topic, kept)| Some((*topic, kept.current()?)))
            .filter(|(topic, kept)| {
                let local = self.subscription.no_local && messages[kept.number].publisher == Some(client);
                let came = self.came.iter().any(|came| came == topic);
                !came && !local && !kept.has_expired(now) && matches(self.subscription.filter, topic)
            })
            .collect();
        due.sort_by_key(|(topic, _)| levels(topic));
        due
    }

    /// What is retained while it goes on comes as it is published anyway.
    pub fn requires(&self, kept: &Kept) -> bool {
        self.certainty == Certainty::Required && kept.since < self.began
    }

    pub fn first_required(
        &self,
        client: usize,
        messages: &[Message],
        retained: &BTreeMap<&'static str, Retained>,
        now: u64,
    ) -> Option<(&'static str, Kept)> {
        let due = self.due(client, messages, retained, now);
        due.into_iter().find(|(_, kept)| self.requires(kept))
    }
}

impl Retained {
    pub fn current(&self) -> Option<Kept> {
        self.0.last().copied().flatten()
    }
}

impl Kept {
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

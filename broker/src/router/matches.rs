//! What a topic matched.
use super::dense_set::Keyed;
use super::single::MANY;
use super::snapshot_set::Snapshot;
use super::subscribers::{Subscriber, Subscription};
use crate::message::QoS;
use crate::topic::Filter;
use std::iter::Peekable;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::vec::IntoIter;

/// One subscription that a topic matched.
#[derive(Clone)]
pub(crate) struct Match<S> {
    pub(crate) subscriber: S,
    /// The shared subscription for which the subscriber was chosen.
    pub(crate) shared: Option<Arc<Filter>>,
    pub(crate) identifier: Option<NonZeroU32>,
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
}

impl<S: Keyed> Keyed for Match<S> {
    fn key(&self) -> u64 {
        self.subscriber.key()
    }
}

/// All subscriptions that a topic matched. Keep the memory for the next topic.
pub(crate) struct Matches<S> {
    /// All but those that are among very many of one filter. Those of one subscriber are together, those of shared subscriptions
    /// come last, as each is a delivery of its own.
    pub(crate) few: Vec<Match<S>>,
    /// Filters that have very many.
    many: Vec<Snapshot<Subscription<S>>>,
    /// Filters that contributed; with one only, nobody is there twice.
    filters: usize,
    /// Does not get it through a subscription with No Local.
    publisher: Option<u64>,
}

impl<S: Subscriber> Matches<S> {
    /// None yet, in this memory, for a message of this publisher.
    pub(crate) fn within(memory: Vec<Match<S>>, publisher: Option<u64>) -> Self {
        Self { few: memory, many: Vec::new(), filters: 0, publisher }
    }

    /// How many, with those of the publisher that may not count.
    pub(crate) fn len(&self) -> usize {
        self.few.len() + self.many.iter().map(Snapshot::len).sum::<usize>()
    }

    /// Are they more than a message goes to at once?
    pub(crate) fn are_many(&self) -> bool {
        !self.many.is_empty() || self.few.len() > MANY
    }

    /// Those of one filter.
    pub(super) fn add<'s>(
        &mut self,
        subscriptions: impl IntoIterator<Item = &'s Subscription<S>>,
        chosen: impl IntoIterator<Item = Match<S>>,
    ) where
        S: 's,
    {
        let before = self.few.len();
        let publisher = self.publisher;
        let wanted = subscriptions.into_iter().filter(|subscription| subscription.wants(publisher));
        self.few.extend(wanted.map(|subscription| subscription.matched(None)));
        self.few.extend(chosen);
        self.filters += usize::from(self.few.len() > before);
    }

    /// Those of a filter that has very many.
    pub(super) fn add_many(&mut self, subscriptions: Snapshot<Subscription<S>>) {
        self.many.push(subscriptions);
        self.filters += 1;
    }

    /// All are there.
    pub(super) fn put_the_same_subscriber_together(&mut self) {
        if self.filters > 1 {
            self.few.sort_unstable_by_key(|found| (found.shared.is_some(), found.subscriber.key()));
        }
    }

    /// Puts all of them among the few, in one piece.
    pub(crate) fn gather(&mut self) {
        for many in std::mem::take(&mut self.many) {
            let publisher = self.publisher;
            let wanted = many.filter(|subscription| subscription.wants(publisher));
            self.few.extend(wanted.map(|subscription| subscription.matched(None)));
        }
        self.put_the_same_subscriber_together();
    }

    /// Takes all out but those of shared subscriptions.
    pub(crate) fn take_single(&mut self) -> Walk<S> {
        let few: Vec<_> = self.few.extract_if(.., |found| found.shared.is_none()).collect();
        let many = std::mem::take(&mut self.many);
        Walk {
            few: few.into_iter().peekable(),
            many: many.into_iter().map(Iterator::peekable).collect(),
            publisher: self.publisher,
        }
    }
}

/// Matches one after the other, those of one subscriber together.
#[derive(Clone)]
pub(crate) struct Walk<S: Clone> {
    few: Peekable<IntoIter<Match<S>>>,
    many: Vec<Peekable<Snapshot<Subscription<S>>>>,
    publisher: Option<u64>,
}

impl<S: Subscriber> Walk<S> {
    /// Those of one subscriber are together already.
    pub(crate) fn of(few: Vec<Match<S>>) -> Self {
        Self { few: few.into_iter().peekable(), many: Vec::new(), publisher: None }
    }

    /// How many at most: those of the publisher may not count.
    pub(crate) fn len(&self) -> usize {
        self.few.len() + self.many.iter().map(ExactSizeIterator::len).sum::<usize>()
    }
}

impl<S: Subscriber> Iterator for Walk<S> {
    type Item = Match<S>;

    fn next(&mut self) -> Option<Match<S>> {
        loop {
            let of_many = self.many.iter_mut().filter_map(|many| Some((many.peek()?.key(), many)));
            let Some((key, many)) = of_many.min_by_key(|(key, _)| *key) else { return self.few.next() };
            if self.few.peek().is_some_and(|few| few.key() <= key) {
                return self.few.next();
            }
            let publisher = self.publisher;
            if let Some(subscription) = many.next_if(|subscription| subscription.wants(publisher)) {
                return Some(subscription.matched(None));
            }
            many.next();
        }
    }
}

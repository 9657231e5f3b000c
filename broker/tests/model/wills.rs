//! Last wills: when they fall due, and those of which a kill leaves open whether they do.
use super::filters::matches;
use super::retained::Kept;
use super::script::{FILTERS, TOPICS, is_shared};
use super::semantics::{Message, Model, Received};
use super::session::{Certainty, Expected, Session, Will};
use jitp_broker::message::QoS;
use std::collections::BTreeSet;

/// A will of a connection that was killed before it was stored what became of it.
#[derive(Debug)]
pub struct Suspect {
    number: usize,
    /// To whom it came.
    came_to: BTreeSet<usize>,
}

/// The will of a connection that ended.
#[derive(Debug, Clone, Copy)]
pub struct LeftWith {
    pub will: Will,
    /// It was published then.
    pub published: bool,
}

impl Model {
    /// A second passes.
    pub fn tick(&mut self) {
        self.now += 1;
        self.fall_due();
    }

    /// Wills fall due, and sessions expire.
    pub fn fall_due(&mut self) {
        let now = self.now;
        loop {
            let due = |session: &Session| {
                let away = session.away.as_ref().filter(|_| !session.uncertain)?;
                let at = away.delayed.as_ref().map_or(away.expires_at, |(at, _)| *at);
                (at <= now).then_some((at, away.timer_set))
            };
            let due = self.sessions.iter().enumerate().filter_map(|(client, session)| {
                let (at, timer_set) = due(session.as_ref()?)?;
                Some((at, timer_set, client))
            });
            let Some((_, _, client)) = due.min() else { return };
            let timer_set = self.event();
            let away = self.sessions[client].as_mut().and_then(|session| session.away.as_mut());
            let will = match away {
                Some(away) if away.expires_at > now => {
                    away.timer_set = timer_set;
                    away.delayed.take()
                }
                _ => {
                    self.end(client, true);
                    None
                }
            };
            if let Some((_, will)) = will {
                self.publish(will.number);
            }
        }
    }

    /// After a kill: it may be published, or not.
    pub fn suspect(&mut self, will: Will) {
        self.suspects.push(Suspect { number: will.number, came_to: BTreeSet::new() });
        if self.groups.know(will.number) {
            return;
        }
        let message = &self.messages[will.number];
        for filter in (0..FILTERS.len()).filter(|filter| is_shared(*filter)) {
            if !matches(filter, TOPICS[message.topic]) {
                continue;
            }
            let granted = |session: &Option<Session>| session.as_ref()?.granted(filter);
            let members = self.sessions.iter().map(granted).enumerate();
            let members: Vec<_> = members.filter_map(|(client, granted)| Some((client, granted?))).collect();
            self.groups.published(will.number, filter, message.qos, None, &members, false);
        }
    }

    /// Before a kill: a will that was published, and is not stored yet, is published again unless it is stored after all. So whoever
    /// has not seen it sees it.
    pub fn keep_what_is_published_again(&mut self) {
        let published = |session: &Session| {
            let left = session.left_with.filter(|left| left.published && left.will.delay == 0)?;
            Some(left.will.number)
        };
        let all = || self.sessions.iter().chain(&self.ghosts).flatten();
        let again: BTreeSet<usize> = all().filter(|session| session.durable).filter_map(published).collect();
        let certain = |session: &&mut Session| {
            session.durable && session.expiry > 0 && !session.away.as_ref().is_some_and(|away| away.fresh)
        };
        for session in self.sessions.iter_mut().flatten().filter(certain) {
            for expected in &mut session.pending {
                if again.contains(&expected.received.number) && !expected.was_sent {
                    expected.fresh = false;
                }
            }
        }
    }

    /// What is retained tells that a will was published, if it may have been.
    pub fn see_retained(&mut self, retained: impl Fn(&str) -> Option<usize>) {
        for topic in TOPICS {
            let Some(number) = retained(topic) else { continue };
            let known = self.retained.entry(topic).or_default();
            if known.0.iter().flatten().any(|kept| kept.number == number)
                || !self.suspects.iter().any(|s| s.number == number)
            {
                continue;
            }
            self.events += 1;
            let expires_at = self.messages[number].expiry.map(|expiry| self.now + expiry);
            known.0.push(Some(Kept { number, expires_at, since: self.events }));
        }
    }

    /// May a will of which that is open be retained on this topic?
    pub fn is_suspect(&self, topic: &str) -> bool {
        self.suspects.iter().any(|suspect| {
            let message = &self.messages[suspect.number];
            message.retain && TOPICS[message.topic] == topic
        })
    }
}

/// A message that is not due may be a will that is due only perhaps.
pub fn suspected(
    suspects: &mut [Suspect],
    session: &Session,
    client: usize,
    message: &Message,
    received: &Received,
) -> Option<Expected> {
    let suspect = suspects.iter_mut().find(|suspect| suspect.number == received.number)?;
    if received.qos > message.qos || session.matching(client, message).is_empty() {
        return None;
    }
    suspect.came_to.insert(client).then(|| Expected {
        received: received.clone(),
        publisher: message.publisher,
        by_scan: false,
        expires_at: None,
        was_sent: received.qos > QoS::AtMostOnce,
        acknowledged: false,
        certainty: Certainty::Allowed,
        fresh: true,
    })
}

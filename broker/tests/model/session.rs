//! What the broker owes to a session: what it has subscribed to, and what has to come.
use super::filters::matches;
use super::retained::{Retained, Scan};
use super::script::{Acknowledges, FILTERS, TOPICS, is_shared};
use super::semantics::{Message, Received};
use super::wills::LeftWith;
use jitp_broker::message::QoS;
use std::collections::BTreeMap;

/// Whether something has to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It must come.
    Required,
    /// It may come, in its place.
    Allowed,
}

#[derive(Debug, Clone)]
pub struct Session {
    /// What was made first is restored first.
    pub born: u64,
    pub subscriptions: Vec<Subscription>,
    /// Not seen by the client, or to be seen again, in order.
    pub pending: Vec<Expected>,
    /// Seen with QoS 1, in order; unacknowledged, or acknowledged and that not stored yet.
    pub seen: Vec<Expected>,
    /// Retained messages that are still to come, by subscription.
    pub scans: Vec<Scan>,
    pub acknowledges: Acknowledges,
    /// It outlives its connection.
    pub durable: bool,
    /// Of its last connection.
    pub expiry: u64,
    pub will: Option<Will>,
    /// That of its last connection, if what became of it is not stored yet.
    pub left_with: Option<LeftWith>,
    /// `None`: it has a connection.
    pub away: Option<Away>,
    /// It was killed before what became of it could be stored.
    pub uncertain: bool,
}

/// The last will of a connection: the number of a message, and how many seconds it waits.
#[derive(Debug, Clone, Copy)]
pub struct Will {
    pub number: usize,
    pub delay: u64,
}

/// A session without a connection.
#[derive(Debug, Clone)]
pub struct Away {
    pub expires_at: u64,
    pub delayed: Option<(u64, Will)>,
    /// Of two that are due at the same time the one that was set first is first.
    pub timer_set: u64,
    /// Not stored yet.
    pub fresh: bool,
}

#[derive(Debug, Clone)]
pub struct Subscription {
    pub filter: usize,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub identifier: Option<u32>,
}

#[derive(Debug, Clone)]
pub struct Expected {
    pub received: Received,
    pub publisher: Option<usize>,
    /// By a subscription to what is retained, not as it was published.
    pub by_scan: bool,
    pub expires_at: Option<u64>,
    /// It may be on its way: then it comes although it has expired.
    pub was_sent: bool,
    pub acknowledged: bool,
    pub certainty: Certainty,
    /// It is not stored yet.
    pub fresh: bool,
}

impl Session {
    pub fn new(durable: bool, born: u64) -> Self {
        Self {
            born,
            subscriptions: Vec::new(),
            pending: Vec::new(),
            seen: Vec::new(),
            scans: Vec::new(),
            acknowledges: Acknowledges::Everything,
            durable,
            expiry: 0,
            will: None,
            left_with: None,
            away: None,
            uncertain: false,
        }
    }

    pub fn has(&self, filter: usize) -> bool {
        self.subscriptions.iter().any(|held| held.filter == filter)
    }

    pub fn granted(&self, filter: usize) -> Option<QoS> {
        self.subscriptions.iter().find(|held| held.filter == filter).map(|held| held.qos)
    }

    pub fn may_retain_as_published(&self, filter: usize) -> bool {
        // It may have been subscribed to otherwise before.
        self.subscriptions.iter().all(|held| held.filter != filter || held.retain_as_published)
            || !self.pending.is_empty()
    }

    /// Its subscriptions that a message matches, but shared ones.
    pub fn matching(&self, client: usize, message: &Message) -> Vec<Subscription> {
        let wanted = |held: &&Subscription| {
            !is_shared(held.filter)
                && matches(held.filter, TOPICS[message.topic])
                && !(held.no_local && message.publisher == Some(client))
        };
        self.subscriptions.iter().filter(wanted).cloned().collect()
    }

    /// Its connection is gone: QoS 0 is forgotten, and what was not acknowledged comes again.
    pub fn put_back(&mut self) {
        let (acknowledged, again): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.seen).into_iter().partition(|expected| expected.acknowledged);
        self.seen = acknowledged;
        self.pending.retain(|expected| expected.received.qos > QoS::AtMostOnce);
        self.pending.splice(0..0, again);
    }

    /// What was not stored may be lost, and what was acknowledged may come again.
    pub fn crash(&mut self) {
        self.pending.retain(|expected| expected.received.qos > QoS::AtMostOnce);
        for expected in &mut self.pending {
            if expected.fresh || self.uncertain {
                expected.certainty = Certainty::Allowed;
            }
        }
        let mut again = std::mem::take(&mut self.seen);
        for expected in &mut again {
            if expected.acknowledged || expected.fresh || expected.by_scan {
                expected.certainty = Certainty::Allowed;
            }
            expected.acknowledged = false;
        }
        self.pending.splice(0..0, again);
        for expected in &mut self.pending {
            expected.fresh = false;
        }
        for scan in &mut self.scans {
            (scan.through, scan.certainty) = (false, Certainty::Allowed);
            scan.came.clear();
        }
    }

    /// What several SUBSCRIBEs to one filter are owed comes once after a restart.
    pub fn merge_scans(&mut self) {
        let scans = std::mem::take(&mut self.scans);
        let last = |place: usize, scan: &Scan| {
            scans[place + 1..].iter().all(|later| later.subscription.filter != scan.subscription.filter)
        };
        let lasting = scans.iter().enumerate().filter(|(place, scan)| last(*place, scan));
        self.scans = lasting.map(|(_, scan)| scan.clone()).collect();
    }

    pub fn forget_expired(&mut self, now: u64) {
        let expired = |expected: &Expected| expected.expires_at.is_some_and(|at| at <= now);
        self.pending.retain(|expected| !expired(expected) || expected.was_sent);
        for expected in self.pending.iter_mut().filter(|expected| expired(expected)) {
            expected.certainty = Certainty::Allowed;
        }
    }

    /// Takes a message that is due. Messages of one publisher with the same QoS come in order.
    pub fn take_pending(&mut self, received: &Received) -> Option<Expected> {
        let position = self.pending.iter().position(|expected| expected.received == *received)?;
        let found = self.pending[position].clone();
        let before = |expected: &Expected| {
            expected.publisher == found.publisher
                && expected.received.qos == found.received.qos
                && expected.by_scan == found.by_scan
        };
        let earlier = &self.pending[..position];
        if earlier.iter().any(|expected| before(expected) && expected.certainty == Certainty::Required) {
            return None;
        }
        if found.certainty == Certainty::Allowed && received.qos == QoS::AtLeastOnce {
            // Published twice, as it was not acknowledged: of the two it is one that must come.
            let twin = |expected: &&mut Expected| {
                expected.received == *received && expected.certainty == Certainty::Required
            };
            let twin = self.pending.iter_mut().skip(position + 1).find(twin);
            twin.into_iter().for_each(|twin| twin.certainty = Certainty::Allowed);
        }
        let mut index = 0;
        self.pending.retain(|expected| {
            index += 1;
            index > position + 1 || index <= position && !before(expected)
        });
        Some(found)
    }

    /// Takes a message that is retained and due to a subscription. Those with the same QoS come in the order of their topics.
    pub fn take_retained(
        &mut self,
        client: usize,
        received: &Received,
        messages: &[Message],
        retained: &BTreeMap<&'static str, Retained>,
        now: u64,
    ) -> Option<Expected> {
        for scan in &mut self.scans {
            for (topic, kept) in scan.due(client, messages, retained, now) {
                let qos = messages[kept.number].qos.min(scan.subscription.qos);
                if kept.number == received.number
                    && topic == received.topic
                    && qos == received.qos
                    && received.identifiers.iter().copied().eq(scan.subscription.identifier)
                {
                    scan.came.push(topic.to_owned());
                    return Some(Expected {
                        received: received.clone(),
                        publisher: None,
                        by_scan: true,
                        expires_at: kept.expires_at,
                        was_sent: true,
                        acknowledged: false,
                        certainty: Certainty::Required,
                        fresh: true,
                    });
                }
                if qos == received.qos && scan.requires(&kept) {
                    return None;
                }
            }
        }
        None
    }

    pub fn due(&self) -> String {
        let pending = self.pending.iter().map(|expected| {
            let Expected { received, certainty, .. } = expected;
            format!("{} with {:?} ({certainty:?})", received.number, received.qos)
        });
        let scans = self.scans.iter().filter(|scan| !scan.through);
        let scans = scans.map(|scan| format!("what is retained for {} {scan:?}", scan.subscription.name()));
        pending.chain(scans).take(12).collect::<Vec<_>>().join(", ")
    }
}

impl Subscription {
    pub fn name(&self) -> &'static str {
        FILTERS[self.filter]
    }
}

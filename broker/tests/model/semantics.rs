//! What MQTT promises (OASIS MQTT 5.0 and 3.1.1), written plainly: everything is a list, and a filter is compared with a
//! topic level by level. Where the standard leaves a choice, this is the broker's.
//!
//! What a crash may take, and only that, is not expected but allowed: see [`Certainty`]. What is owed to one session is in
//! `session`, what comes of it in `deliveries`, last wills are in `wills`, and what a restart or a kill leaves in `crash`.
use super::filters::matches;
use super::groups::Groups;
use super::retained::{Kept, Retained, Scan};
use super::script::{CLIENTS, Connect, FILTERS, Subscribe, TOPICS, is_shared};
use super::session::{Away, Certainty, Expected, Session, Subscription, Will};
use super::wills::{LeftWith, Suspect};
use jitp_broker::backend::RetainHandling;
use jitp_broker::message::QoS;
use std::collections::BTreeMap;

/// All that there should be: sessions, retained messages, and who is owed what.
pub struct Model {
    /// Seconds since the beginning.
    pub now: u64,
    /// Counts what happens, to know what was first.
    pub events: u64,
    /// The longest that a session waits for its client.
    pub longest_expiry: u64,
    pub messages: Vec<Message>,
    pub sessions: [Option<Session>; CLIENTS],
    /// Sessions that ended since everything was stored last: a crash may bring them back.
    pub ghosts: [Option<Session>; CLIENTS],
    pub retained: BTreeMap<&'static str, Retained>,
    pub groups: Groups,
    /// Wills that are due perhaps.
    pub suspects: Vec<Suspect>,
}

/// A message that somebody wants to publish.
#[derive(Debug, Clone)]
pub struct Message {
    pub publisher: Option<usize>,
    pub topic: usize,
    pub qos: QoS,
    pub retain: bool,
    pub empty: bool,
    /// Seconds.
    pub expiry: Option<u64>,
}

/// A message as it came to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub number: usize,
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    /// Subscription Identifiers, in order.
    pub identifiers: Vec<u32>,
}

/// Whether the broker must know of a session that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Yes,
    No,
    /// It was killed before that could be stored.
    Either,
}

impl Model {
    pub fn new(longest_expiry: u64) -> Self {
        Self {
            now: 0,
            events: 0,
            longest_expiry,
            messages: Vec::new(),
            sessions: Default::default(),
            ghosts: Default::default(),
            retained: BTreeMap::new(),
            groups: Groups::default(),
            suspects: Vec::new(),
        }
    }

    pub fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// Gives a message its number.
    pub fn announce(&mut self, message: Message) -> usize {
        self.messages.push(message);
        self.messages.len() - 1
    }

    pub fn message(&self, number: usize) -> &Message {
        &self.messages[number]
    }

    /// Gives the will of a connection its number.
    pub fn announce_will(&mut self, connect: &Connect) -> Option<usize> {
        let will = connect.will.as_ref()?;
        Some(self.announce(Message {
            publisher: Some(connect.client),
            topic: will.topic,
            qos: will.qos,
            retain: will.retain,
            empty: false,
            expiry: will.expiry,
        }))
    }

    /// CONNECT of a client that has no connection, with the number of its will.
    pub fn connect(&mut self, connect: &Connect, will: Option<usize>) -> Presence {
        let (client, born) = (connect.client, self.event());
        let presence = match &self.sessions[client] {
            None => Presence::No,
            Some(_) if connect.clean => {
                self.end(client, true);
                Presence::No
            }
            Some(session) if session.uncertain => Presence::Either,
            Some(_) => Presence::Yes,
        };
        let expiry = connect.expiry.min(self.longest_expiry);
        let session = self.sessions[client].get_or_insert_with(|| Session::new(expiry > 0, born));
        session.acknowledges = connect.acknowledges;
        session.expiry = expiry;
        let delay = connect.will.as_ref().map_or(0, |will| will.delay);
        session.will = will.map(|number| Will { number, delay });
        session.away = None;
        presence
    }

    /// It turned out whether a session was there.
    pub fn was_present(&mut self, client: usize, present: bool) {
        if !present {
            let (old, born) = (self.sessions[client].take(), self.event());
            self.member_is_gone(client);
            self.sessions[client] = old.map(|old| Session {
                acknowledges: old.acknowledges,
                expiry: old.expiry,
                will: old.will,
                ..Session::new(old.expiry > 0, born)
            });
        }
        if let Some(session) = &mut self.sessions[client] {
            session.uncertain = false;
        }
    }

    /// A connection ends.
    pub fn leave(&mut self, client: usize, with_will: bool, expiry: Option<u64>) {
        let timer_set = self.event();
        let Some(session) = &mut self.sessions[client] else { return };
        let expiry = expiry.unwrap_or(session.expiry).min(self.longest_expiry);
        let will = session.will.take();
        session.left_with = will.map(|will| LeftWith { will, published: with_will });
        let will = will.filter(|_| with_will);
        self.groups.left(client);
        if expiry == 0 {
            if session.durable {
                let mut ghost = session.clone();
                ghost.put_back();
                self.ghosts[client] = Some(ghost);
            }
            self.end(client, false);
            if let Some(will) = will {
                self.publish(will.number);
            }
            return;
        }
        session.put_back();
        let expires_at = self.now + expiry;
        session.away = Some(Away { expires_at, delayed: None, timer_set, fresh: true });
        match will {
            Some(will) if will.delay == 0 => drop(self.publish(will.number)),
            Some(will) => {
                let at = expires_at.min(self.now + will.delay);
                let away = session.away.as_mut();
                away.into_iter().for_each(|away| away.delayed = Some((at, will)));
            }
            None => {}
        }
    }

    /// A session ends.
    pub fn end(&mut self, client: usize, with_will: bool) {
        let ended = self.sessions[client].take();
        self.member_is_gone(client);
        let will = ended.and_then(|session| session.away?.delayed);
        if let Some((_, will)) = will.filter(|_| with_will) {
            self.publish(will.number);
        }
    }

    pub fn member_is_gone(&mut self, client: usize) {
        let has_members = |filter| self.sessions.iter().flatten().any(|session| session.has(filter));
        self.groups.gone(client, has_members);
    }

    /// SUBSCRIBE. Returns whether there was such a subscription.
    pub fn subscribe(&mut self, subscribe: &Subscribe) -> bool {
        let began = self.event();
        let subscription = Subscription {
            filter: subscribe.filter,
            qos: subscribe.qos,
            no_local: subscribe.no_local,
            retain_as_published: subscribe.retain_as_published,
            identifier: subscribe.identifier(),
        };
        let filter = subscribe.filter;
        let Some(session) = &mut self.sessions[subscribe.client] else { return false };
        let existed = session.has(filter);
        session.subscriptions.retain(|held| held.filter != filter);
        session.subscriptions.push(subscription.clone());
        if is_shared(filter) {
            self.groups.joined(subscribe.client, filter, subscribe.qos);
            return existed;
        }
        let wanted = match subscribe.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !existed,
            RetainHandling::DoNotSend => false,
        };
        if wanted {
            let certainty = Certainty::Required;
            session.scans.push(Scan { subscription, came: Vec::new(), began, certainty, through: false });
        }
        existed
    }

    /// UNSUBSCRIBE. What is on its way still comes. Returns whether there was such a subscription.
    pub fn unsubscribe(&mut self, client: usize, filter: usize) -> bool {
        let Some(session) = &mut self.sessions[client] else { return false };
        let existed = session.has(filter);
        session.subscriptions.retain(|held| held.filter != filter);
        session.scans.retain(|scan| scan.subscription.filter != filter);
        existed
    }

    /// A message is published. Returns how many sessions and groups get it, if that is certain.
    pub fn publish(&mut self, number: usize) -> Option<usize> {
        let message = self.messages[number].clone();
        let topic = TOPICS[message.topic];
        let expires_at = message.expiry.map(|expiry| self.now + expiry);
        if message.retain {
            let since = self.event();
            let kept = (!message.empty).then_some(Kept { number, expires_at, since });
            self.retained.entry(topic).or_insert_with(|| Retained(vec![None])).0.push(kept);
        }
        let mut matched = 0;
        let certain = !self.sessions.iter().flatten().any(|session| session.uncertain);
        for (client, session) in self.sessions.iter_mut().enumerate() {
            let Some(session) = session else { continue };
            let matching = session.matching(client, &message);
            let Some(granted) = matching.iter().map(|held| held.qos).max() else { continue };
            matched += 1;
            let qos = granted.min(message.qos);
            if session.away.is_some() && qos == QoS::AtMostOnce {
                continue;
            }
            let mut identifiers: Vec<u32> = matching.iter().filter_map(|held| held.identifier).collect();
            identifiers.sort_unstable();
            let retain = message.retain && matching.iter().any(|held| held.retain_as_published);
            session.pending.push(Expected {
                received: Received { number, topic: topic.to_owned(), qos, retain, identifiers },
                publisher: message.publisher,
                by_scan: false,
                expires_at,
                was_sent: false,
                acknowledged: false,
                certainty: if session.uncertain { Certainty::Allowed } else { Certainty::Required },
                fresh: true,
            });
        }
        for filter in (0..FILTERS.len()).filter(|filter| is_shared(*filter) && matches(*filter, topic)) {
            let members: Vec<(usize, QoS)> = self
                .sessions
                .iter()
                .enumerate()
                .filter_map(|(client, session)| Some((client, session.as_ref()?.granted(filter)?)))
                .collect();
            if !members.is_empty() {
                matched += 1;
                self.groups.published(number, filter, message.qos, expires_at, &members, certain);
            }
        }
        certain.then_some(matched)
    }

    /// The broker says that it has a QoS 2 message already: who was to get it must get it.
    pub fn is_known(&mut self, number: usize) {
        for session in self.sessions.iter_mut().flatten().filter(|session| !session.uncertain) {
            for expected in session.pending.iter_mut().filter(|expected| expected.received.number == number) {
                expected.certainty = Certainty::Required;
            }
        }
    }

    /// The broker says that it does not know a QoS 2 message: nobody gets what it may have been before.
    pub fn is_unknown(&mut self, number: usize) {
        for session in self.sessions.iter_mut().flatten() {
            let lost = |expected: &Expected| {
                expected.received.number == number && expected.received.qos == QoS::ExactlyOnce
            };
            session.pending.retain(|expected| !lost(expected));
        }
        self.groups.is_unknown(number);
    }

    /// What must be retained now, by topic.
    pub fn retained(&self) -> Vec<(&'static str, usize)> {
        let alive = |kept: &Retained| kept.current().filter(|kept| !kept.has_expired(self.now));
        self.retained.iter().filter_map(|(topic, kept)| Some((*topic, alive(kept)?.number))).collect()
    }

    /// Sessions with a connection, without one, and all their subscriptions, if that is certain.
    pub fn counts(&self) -> Option<(usize, usize, usize)> {
        let sessions = || self.sessions.iter().flatten();
        let away = sessions().filter(|session| session.away.is_some()).count();
        let subscriptions = sessions().map(|session| session.subscriptions.len()).sum();
        let certain = !sessions().any(|session| session.uncertain);
        certain.then_some((sessions().count() - away, away, subscriptions))
    }

    /// Clients that have a session, or may have.
    pub fn has_session(&self, client: usize) -> bool {
        self.sessions[client].is_some()
    }
}

//! What MQTT promises (OASIS MQTT 5.0 and 3.1.1), written plainly: everything is a list, and a filter is compared with a
//! topic level by level. Where the standard leaves a choice, this is the broker's.
//!
//! What a crash may take, and only that, is not expected but allowed: see [`Certainty`].
use super::groups::Groups;
use super::script::{Acknowledges, CLIENTS, Connect, FILTERS, Subscribe, TOPICS, is_shared};
use jitp_broker::backend::RetainHandling;
use jitp_broker::message::QoS;
use std::collections::BTreeMap;

/// All that there should be: sessions, retained messages, and who is owed what.
pub struct Model {
    /// Seconds since the beginning.
    now: u64,
    /// Counts what happens, to know what was first.
    events: u64,
    /// The longest that a session waits for its client.
    longest_expiry: u64,
    messages: Vec<Message>,
    sessions: [Option<Session>; CLIENTS],
    /// Sessions that ended since everything was stored last: a crash may bring them back.
    ghosts: [Option<Session>; CLIENTS],
    retained: BTreeMap<&'static str, Retained>,
    groups: Groups,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certainty {
    /// It must come.
    Required,
    /// It may come, in its place.
    Allowed,
}

#[derive(Debug, Clone)]
struct Session {
    subscriptions: Vec<Subscription>,
    /// Not seen by the client, or to be seen again, in order.
    pending: Vec<Expected>,
    /// Seen with QoS 1, in order; unacknowledged, or acknowledged and that not stored yet.
    seen: Vec<Expected>,
    /// Retained messages that are still to come, by subscription.
    scans: Vec<Scan>,
    acknowledges: Acknowledges,
    /// It outlives its connection.
    durable: bool,
    /// Of its last connection.
    expiry: u64,
    will: Option<Will>,
    /// `None`: it has a connection.
    away: Option<Away>,
    /// It was killed before what became of it could be stored.
    uncertain: bool,
}

/// The last will of a connection: the number of a message, and how many seconds it waits.
#[derive(Debug, Clone, Copy)]
struct Will {
    number: usize,
    delay: u64,
}

/// A session without a connection.
#[derive(Debug, Clone)]
struct Away {
    expires_at: u64,
    delayed: Option<(u64, Will)>,
    /// Of two that are due at the same time the one that was set first is first.
    timer_set: u64,
    /// Not stored yet.
    fresh: bool,
}

#[derive(Debug, Clone)]
struct Subscription {
    filter: usize,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
}

#[derive(Debug, Clone)]
struct Expected {
    received: Received,
    publisher: Option<usize>,
    /// By a subscription to what is retained, not as it was published.
    by_scan: bool,
    expires_at: Option<u64>,
    /// It may be on its way: then it comes although it has expired.
    was_sent: bool,
    acknowledged: bool,
    certainty: Certainty,
    /// It is not stored yet.
    fresh: bool,
}

#[derive(Debug, Clone)]
struct Scan {
    subscription: Subscription,
    /// The topics whose messages came.
    came: Vec<String>,
    began: u64,
    certainty: Certainty,
    /// Through, but that is not stored yet.
    through: bool,
}

/// What was retained on a topic since everything was stored last; the last one counts.
#[derive(Debug, Clone, Default)]
struct Retained(Vec<Option<Kept>>);

#[derive(Debug, Clone, Copy)]
struct Kept {
    number: usize,
    expires_at: Option<u64>,
    since: u64,
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
        }
    }

    fn event(&mut self) -> u64 {
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
        let client = connect.client;
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
        let session = self.sessions[client].get_or_insert_with(|| Session::new(expiry > 0));
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
            let old = self.sessions[client].take();
            self.member_is_gone(client);
            self.sessions[client] = old.map(|old| Session {
                acknowledges: old.acknowledges,
                expiry: old.expiry,
                will: old.will,
                ..Session::new(old.expiry > 0)
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
        let will = session.will.take().filter(|_| with_will);
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
    fn end(&mut self, client: usize, with_will: bool) {
        let ended = self.sessions[client].take();
        self.member_is_gone(client);
        let will = ended.and_then(|session| session.away?.delayed);
        if let Some((_, will)) = will.filter(|_| with_will) {
            self.publish(will.number);
        }
    }

    fn member_is_gone(&mut self, client: usize) {
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
            session.scans.retain(|scan| scan.subscription.filter != filter);
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
            let mut identifiers: Vec<u32> = matching.iter().map(|held| identifier(held.filter)).collect();
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

    /// A second passes: wills fall due, and sessions expire.
    pub fn tick(&mut self) {
        self.now += 1;
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

    /// Everything that was said so far is stored.
    pub fn settled(&mut self) {
        self.ghosts = Default::default();
        for session in self.sessions.iter_mut().flatten() {
            session.pending.iter_mut().for_each(|expected| expected.fresh = false);
            session.seen.retain(|expected| !expected.acknowledged);
            session.seen.iter_mut().for_each(|expected| expected.fresh = false);
            session.scans.retain(|scan| !scan.through);
            session.away.iter_mut().for_each(|away| away.fresh = false);
        }
        for retained in self.retained.values_mut() {
            let last = retained.0.pop().flatten();
            retained.0 = vec![last];
        }
        self.groups.settled();
    }

    /// The broker was stopped in order, after every connection was ended, and is started again. Delayed wills are not kept
    /// over that.
    pub fn restarted(&mut self) {
        for session in self.sessions.iter_mut().flatten() {
            session.away.iter_mut().for_each(|away| away.delayed = None);
        }
        self.groups.restarted();
    }

    /// The broker is killed and started again. `retained`: what is retained then.
    pub fn killed(&mut self, retained: impl Fn(&str) -> Option<usize>) -> Result<(), String> {
        for client in 0..CLIENTS {
            if let Some(mut ghost) = self.ghosts[client].take() {
                ghost.uncertain = true;
                self.sessions[client] = Some(ghost);
            }
            let Some(session) = &mut self.sessions[client] else { continue };
            if !session.durable || (session.away.is_none() && session.expiry == 0) {
                self.sessions[client] = None;
                self.groups.left(client);
                self.member_is_gone(client);
                continue;
            }
            session.crash();
            session.uncertain |= session.away.as_ref().is_some_and(|away| away.fresh);
            let timer_set = self.events;
            let expires_at = match &session.away {
                Some(away) => away.expires_at,
                None => self.now + session.expiry,
            };
            session.away = Some(Away { expires_at, delayed: None, timer_set, fresh: false });
            session.will = None;
        }
        let uncertain = self.sessions.iter().flatten().any(|session| session.uncertain);
        self.groups.killed(uncertain);
        let now = self.now;
        for (topic, kept) in &mut self.retained {
            let found = retained(topic);
            let alive =
                |kept: &Option<Kept>| kept.filter(|kept| !kept.has_expired(now)).map(|kept| kept.number);
            let Some(kept_one) = kept.0.iter().rev().find(|kept| alive(kept) == found).copied() else {
                return Err(format!("{found:?} is retained on {topic} after the kill: {:?}", kept.0));
            };
            kept.0 = vec![kept_one];
        }
        Ok(())
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

    /// The client acknowledges what it has seen, and what it will see.
    pub fn acknowledge(&mut self, client: usize) {
        let Some(session) = &mut self.sessions[client] else { return };
        session.acknowledges = Acknowledges::Everything;
        session.seen.iter_mut().for_each(|expected| expected.acknowledged = true);
        self.groups.acknowledged(client);
    }

    /// A message is on its way to the client, which cannot see it yet.
    pub fn sent(&mut self, client: usize, received: &Received) {
        let now = self.now;
        let Some(session) = &mut self.sessions[client] else { return };
        if let Some(expected) = session.pending.iter_mut().find(|expected| expected.received == *received) {
            expected.was_sent = true;
        } else if received.retain {
            let retained = session.take_retained(client, received, &self.messages, &self.retained, now);
            session.pending.extend(retained);
        }
        self.groups.sent(received.number);
    }

    /// A message came to a client.
    pub fn came(&mut self, client: usize, received: &Received) -> Result<(), String> {
        let now = self.now;
        let shared = |identifier: &u32| is_shared(*identifier as usize - 1);
        let Some(session) = &mut self.sessions[client] else {
            return Err(format!("c{client} got {received:?} without a session"));
        };
        let acknowledged = session.acknowledges != Acknowledges::Nothing;
        if let Some(identifier) = received.identifiers.iter().copied().find(shared) {
            let filter = identifier as usize - 1;
            if received.identifiers.len() > 1 || received.retain && !session.may_retain_as_published(filter) {
                return Err(format!("c{client} got {received:?} by a shared subscription"));
            }
            return self.groups.came(client, received, filter, acknowledged, now);
        }
        session.forget_expired(now);
        let number = received.number;
        let Some(message) = self.messages.get(number) else {
            return Err(format!("c{client} got {received:?}, which nobody published"));
        };
        if TOPICS[message.topic] != received.topic {
            return Err(format!("c{client} got {received:?}, published as {message:?}"));
        }
        let mut found = session.take_pending(received);
        if found.is_none() && received.retain {
            found = session.take_retained(client, received, &self.messages, &self.retained, now);
        }
        let Some(expected) = found else {
            return Err(format!(
                "c{client} got {received:?}, published as {message:?}, which is not due; due are {}",
                session.due()
            ));
        };
        if received.qos == QoS::AtLeastOnce {
            session.seen.push(Expected { acknowledged, was_sent: true, ..expected });
        }
        Ok(())
    }

    /// Nothing more comes to a client that has room for it.
    pub fn nothing_more(&mut self, client: usize) -> Result<(), String> {
        let now = self.now;
        let missing = self.missing(client);
        let Some(session) = &mut self.sessions[client] else { return Ok(()) };
        if let Some(missing) = missing {
            return Err(format!("c{client} did not get {missing}; due are {}", session.due()));
        }
        session.forget_expired(now);
        session.pending.clear();
        session.scans.iter_mut().for_each(|scan| scan.through = true);
        Ok(())
    }

    /// The first message that a client must still get, if there is any.
    pub fn missing(&mut self, client: usize) -> Option<String> {
        let now = self.now;
        let session = self.sessions[client].as_mut()?;
        session.forget_expired(now);
        let required = |expected: &&Expected| expected.certainty == Certainty::Required;
        if let Some(expected) = session.pending.iter().find(required) {
            return Some(format!("{:?}", expected.received));
        }
        session.scans.iter().find_map(|scan| {
            let (topic, kept) = scan.first_required(client, &self.messages, &self.retained, now)?;
            Some(format!(
                "message {} that is retained on {topic}, by {}",
                kept.number,
                scan.subscription.name()
            ))
        })
    }

    /// Every message for a group came to one of its members.
    pub fn check_groups(&self) -> Result<(), String> {
        self.groups.check(self.now)
    }
}

impl Session {
    fn new(durable: bool) -> Self {
        Self {
            subscriptions: Vec::new(),
            pending: Vec::new(),
            seen: Vec::new(),
            scans: Vec::new(),
            acknowledges: Acknowledges::Everything,
            durable,
            expiry: 0,
            will: None,
            away: None,
            uncertain: false,
        }
    }

    fn has(&self, filter: usize) -> bool {
        self.subscriptions.iter().any(|held| held.filter == filter)
    }

    fn granted(&self, filter: usize) -> Option<QoS> {
        self.subscriptions.iter().find(|held| held.filter == filter).map(|held| held.qos)
    }

    fn may_retain_as_published(&self, filter: usize) -> bool {
        // It may have been subscribed to otherwise before.
        self.subscriptions.iter().all(|held| held.filter != filter || held.retain_as_published)
            || !self.pending.is_empty()
    }

    /// Its subscriptions that a message matches, but shared ones.
    fn matching(&self, client: usize, message: &Message) -> Vec<Subscription> {
        let wanted = |held: &&Subscription| {
            !is_shared(held.filter)
                && matches(held.filter, TOPICS[message.topic])
                && !(held.no_local && message.publisher == Some(client))
        };
        self.subscriptions.iter().filter(wanted).cloned().collect()
    }

    /// Its connection is gone: QoS 0 is forgotten, and what was not acknowledged comes again.
    fn put_back(&mut self) {
        let (acknowledged, again): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.seen).into_iter().partition(|expected| expected.acknowledged);
        self.seen = acknowledged;
        self.pending.retain(|expected| expected.received.qos > QoS::AtMostOnce);
        self.pending.splice(0..0, again);
    }

    /// What was not stored may be lost, and what was acknowledged may come again.
    fn crash(&mut self) {
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

    fn forget_expired(&mut self, now: u64) {
        let expired = |expected: &Expected| expected.expires_at.is_some_and(|at| at <= now);
        self.pending.retain(|expected| !expired(expected) || expected.was_sent);
        for expected in self.pending.iter_mut().filter(|expected| expired(expected)) {
            expected.certainty = Certainty::Allowed;
        }
    }

    /// Takes a message that is due. Messages of one publisher with the same QoS come in order.
    fn take_pending(&mut self, received: &Received) -> Option<Expected> {
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
    fn take_retained(
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
                    && received.identifiers == [identifier(scan.subscription.filter)]
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

    fn due(&self) -> String {
        let pending = self.pending.iter().map(|expected| {
            let Expected { received, certainty, .. } = expected;
            format!("{} with {:?} ({certainty:?})", received.number, received.qos)
        });
        let scans = self.scans.iter().filter(|scan| !scan.through);
        let scans = scans.map(|scan| format!("what is retained for {} {scan:?}", scan.subscription.name()));
        pending.chain(scans).take(12).collect::<Vec<_>>().join(", ")
    }
}

impl Scan {
    /// What is retained and has not come yet.
    fn due(
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
    fn requires(&self, kept: &Kept) -> bool {
        self.certainty == Certainty::Required && kept.since < self.began
    }

    fn first_required(
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

impl Subscription {
    fn name(&self) -> &'static str {
        FILTERS[self.filter]
    }
}

impl Retained {
    fn current(&self) -> Option<Kept> {
        self.0.last().copied().flatten()
    }
}

impl Kept {
    fn has_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

pub fn identifier(filter: usize) -> u32 {
    filter as u32 + 1
}

fn levels(topic: &str) -> Vec<&str> {
    topic.split('/').collect()
}

/// Whether a topic matches a filter (OASIS MQTT 5.0 section 4.7).
fn matches(filter: usize, topic: &str) -> bool {
    let path = match FILTERS[filter].strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, path)| path),
        None => FILTERS[filter],
    };
    let hidden = topic.starts_with('$') && path.starts_with(['+', '#']);
    !hidden && levels_match(&levels(path), &levels(topic))
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([wanted, filter @ ..], [level, topic @ ..]) => {
            (*wanted == "+" || wanted == level) && levels_match(filter, topic)
        }
        _ => false,
    }
}

//! What comes to a client, compared with what has to.
use super::script::{Acknowledges, TOPICS, is_shared};
use super::semantics::{Model, Received};
use super::session::{Certainty, Expected};
use super::wills::suspected;
use jitp_broker::message::QoS;

impl Model {
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
        if found.is_none() {
            found = suspected(&mut self.suspects, session, client, message, received);
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

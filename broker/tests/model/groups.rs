//! Shared subscriptions: which member of a group gets a message is the broker's choice, so what is checked is what became of
//! each message: it came to one member, and not to two.
use super::script::FILTERS;
use super::semantics::Received;
use jitp_broker::message::QoS;
use std::collections::BTreeSet;

/// Every message that was published to a group.
#[derive(Default)]
pub struct Groups(Vec<Item>);

/// One message for one group.
struct Item {
    number: usize,
    filter: usize,
    qos: QoS,
    expires_at: Option<u64>,
    /// Who is a member, or was since.
    candidates: BTreeSet<usize>,
    /// It must come to one of them.
    required: bool,
    /// It came to somebody.
    seen: bool,
    /// With QoS 1, and to whom who has not acknowledged it.
    unacknowledged: Option<usize>,
    /// It came with QoS 1, and may come again.
    again: bool,
    /// It may be on its way: then it comes although it has expired.
    was_sent: bool,
    /// It is not stored yet, or what became of it is not.
    fresh: bool,
    /// A member that may have had it is gone.
    passed_on: bool,
}

impl Groups {
    pub fn published(
        &mut self,
        number: usize,
        filter: usize,
        qos: QoS,
        expires_at: Option<u64>,
        members: &[(usize, QoS)],
        certain: bool,
    ) {
        let confirmed = members.iter().all(|(_, granted)| *granted > QoS::AtMostOnce);
        self.0.push(Item {
            number,
            filter,
            qos,
            expires_at,
            candidates: members.iter().map(|(client, _)| *client).collect(),
            required: qos > QoS::AtMostOnce && confirmed && certain,
            seen: false,
            unacknowledged: None,
            again: false,
            was_sent: false,
            fresh: true,
            passed_on: false,
        });
    }

    /// Was it published to any?
    pub fn know(&self, number: usize) -> bool {
        self.0.iter().any(|item| item.number == number)
    }

    pub fn joined(&mut self, client: usize, filter: usize, granted: QoS) {
        for item in self.0.iter_mut().filter(|item| item.filter == filter) {
            item.candidates.insert(client);
            item.required &= granted > QoS::AtMostOnce;
        }
    }

    /// A member's connection ended: what it has not acknowledged comes again, to it or to another.
    pub fn left(&mut self, client: usize) {
        for item in &mut self.0 {
            item.again |= item.unacknowledged == Some(client);
        }
    }

    /// A member's session ended: another one may get what it had.
    pub fn gone(&mut self, client: usize, has_members: impl Fn(usize) -> bool) {
        for item in self.0.iter_mut().filter(|item| item.candidates.contains(&client)) {
            item.required &= has_members(item.filter) && !item.was_sent;
            item.passed_on = true;
        }
    }

    pub fn sent(&mut self, number: usize) {
        for item in self.0.iter_mut().filter(|item| item.number == number) {
            item.was_sent = true;
        }
    }

    /// The broker does not know a QoS 2 message: what it may have been before is nothing.
    pub fn is_unknown(&mut self, number: usize) {
        self.0.retain(|item| item.number != number || item.seen);
    }

    pub fn acknowledged(&mut self, client: usize) {
        for item in self.0.iter_mut().filter(|item| item.unacknowledged == Some(client)) {
            item.unacknowledged = None;
            item.fresh = true;
        }
    }

    pub fn settled(&mut self) {
        self.0.iter_mut().for_each(|item| item.fresh = false);
    }

    pub fn restarted(&mut self) {
        for item in &mut self.0 {
            item.required &= !item.passed_on;
        }
    }

    pub fn killed(&mut self, uncertain: bool) {
        for item in &mut self.0 {
            item.required &= !(item.passed_on || item.fresh || uncertain);
            item.again |= item.seen && (item.fresh || item.unacknowledged.is_some());
        }
    }

    pub fn came(
        &mut self,
        client: usize,
        received: &Received,
        filter: usize,
        acknowledged: bool,
        now: u64,
    ) -> Result<(), String> {
        let fits = |item: &Item| {
            let expired = item.expires_at.is_some_and(|at| at <= now) && !item.was_sent && !item.again;
            let of_message = item.number == received.number && item.filter == filter;
            let due = received.qos <= item.qos && !expired && (!item.seen || item.again);
            of_message && item.candidates.contains(&client) && due
        };
        // A message that was published twice, as it was not acknowledged, came once at least.
        let due = || self.0.iter().enumerate().filter(|(_, item)| fits(item));
        let first = due().find(|(_, item)| item.required && !item.seen).or_else(|| due().next());
        let Some(item) = first.map(|(index, _)| index).and_then(|index| self.0.get_mut(index)) else {
            return Err(format!(
                "c{client} got {received:?} by {}, which is not due to it: {}",
                FILTERS[filter],
                self.describe(received.number)
            ));
        };
        item.seen = true;
        item.again = false;
        item.was_sent = true;
        item.fresh = true;
        item.unacknowledged = (received.qos == QoS::AtLeastOnce && !acknowledged).then_some(client);
        Ok(())
    }

    pub fn check(&self, now: u64) -> Result<(), String> {
        let lost = |item: &&Item| {
            let expired = item.expires_at.is_some_and(|at| at <= now);
            item.required && !item.seen && !expired
        };
        match self.0.iter().find(lost) {
            Some(item) => Err(format!("nobody of a group got a message: {}", self.describe(item.number))),
            None => Ok(()),
        }
    }

    fn describe(&self, number: usize) -> String {
        let of_message = self.0.iter().filter(|item| item.number == number);
        let lines = of_message.map(|item| {
            let Item { filter, qos, candidates, required, seen, unacknowledged, again, .. } = item;
            format!(
                "message {number} for {}, {qos:?}, of {candidates:?}, required {required}, seen {seen}, \
                 unacknowledged {unacknowledged:?}, again {again}",
                FILTERS[*filter]
            )
        });
        lines.collect::<Vec<_>>().join("; ")
    }
}

//! A queue that needs no memory of its own for one delivery: mostly a client has taken one message before the next comes.
use super::lag::Lag;
use super::stored_queue::StoredQueue;
use crate::batch::{Mail, Part};
use crate::message::{Delivery, Message, QoS};
use std::collections::VecDeque;
use std::sync::Arc;

/// First in, first out.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Older than the rest.
    first: Option<Delivery>,
    /// Mostly there is none, and a session should fit into two cache lines.
    rest: Option<Box<Rest>>,
}

/// What only few queues have.
#[derive(Debug, Default)]
struct Rest {
    mail: VecDeque<Mail>,
    /// Messages in it that are not the last of a batch.
    more: usize,
    /// Of a durable session.
    stored: Option<StoredQueue>,
    /// While it is longer than it should be.
    lag: Option<Arc<Lag>>,
}

/// The message that is next, and how it is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next<'a> {
    pub(super) message: &'a Message,
    pub(super) qos: QoS,
    /// Others came together with it, and none of them expires.
    pub(super) in_part: bool,
}

impl<'a> From<&'a Delivery> for Next<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self { message: &delivery.message, qos: delivery.qos, in_part: false }
    }
}

/// Memory of an empty queue that is kept for the next messages, in deliveries.
const KEPT_CAPACITY: usize = 16;

impl Queue {
    /// The queue of a durable session.
    pub(super) fn durable(stored: StoredQueue) -> Self {
        Self { first: None, rest: Some(Box::new(Rest { stored: Some(stored), ..Rest::default() })) }
    }

    /// What of a durable session's queue is stored.
    pub(super) fn stored(&mut self) -> Option<&mut StoredQueue> {
        self.rest.as_mut()?.stored.as_mut()
    }

    /// Where its lag is kept; one of less than two messages has none.
    pub(super) fn lag(&mut self) -> Option<&mut Option<Arc<Lag>>> {
        self.rest.as_mut().map(|rest| &mut rest.lag)
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        match &mut self.rest {
            Some(rest) if self.first.is_some() || !rest.mail.is_empty() => {
                rest.mail.push_back(Mail::One(delivery));
            }
            None if self.first.is_some() => {
                let mail = VecDeque::from([Mail::One(delivery)]);
                self.rest = Some(Box::new(Rest { mail, ..Rest::default() }));
            }
            _ => self.first = Some(delivery),
        }
    }

    /// Not of an empty part.
    pub(super) fn push_part(&mut self, part: Part) {
        let rest = self.rest.get_or_insert_default();
        rest.more += part.len().saturating_sub(1);
        rest.mail.push_back(Mail::Many(Box::new(part)));
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        if self.first.is_some() {
            return self.first.take();
        }
        let rest = self.rest.as_mut()?;
        match rest.mail.pop_front()? {
            Mail::One(delivery) => Some(delivery),
            Mail::Many(mut part) => {
                let delivery = part.pop();
                if !part.is_empty() {
                    rest.more -= 1;
                    rest.mail.push_front(Mail::Many(part));
                }
                delivery
            }
        }
    }

    /// Takes the first of those that are next together, so many at most. `None`: the next one came alone.
    pub(super) fn pop_part(&mut self, most: usize) -> Option<Box<Part>> {
        let rest = self.rest.as_mut().filter(|_| self.first.is_none())?;
        let Some(Mail::Many(part)) = rest.mail.front_mut() else { return None };
        if part.len() > most {
            rest.more -= most;
            return Some(Box::new(part.take(most)));
        }
        rest.more -= part.len().saturating_sub(1);
        match rest.mail.pop_front() {
            Some(Mail::Many(part)) => Some(part),
            _ => None,
        }
    }

    /// Takes out all that is in memory.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Mail> + use<> {
        let rest = self.rest.as_mut().map(|rest| {
            rest.more = 0;
            std::mem::take(&mut rest.mail)
        });
        self.first.take().map(Mail::One).into_iter().chain(rest.unwrap_or_default())
    }

    pub(super) fn front(&self) -> Option<Next<'_>> {
        if let Some(first) = &self.first {
            return Some(Next::from(first));
        }
        match self.rest.as_ref()?.mail.front()? {
            Mail::One(delivery) => Some(Next::from(delivery)),
            Mail::Many(part) => {
                part.first().map(|message| Next { message, qos: part.qos(), in_part: !part.expires() })
            }
        }
    }

    /// Messages in memory.
    pub(super) fn len(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.mail.len() + rest.more);
        usize::from(self.first.is_some()) + rest
    }

    /// Whether none is in memory.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|rest| rest.mail.is_empty())
    }

    /// Deliveries that are only stored.
    pub(super) fn unread(&self) -> usize {
        self.rest.as_ref().and_then(|rest| rest.stored.as_ref()).map_or(0, |stored| stored.unread)
    }

    /// The place of the first that is only stored.
    pub(super) fn unread_from(&self) -> Option<u64> {
        self.rest.as_ref()?.stored.as_ref()?.unread_from
    }

    /// Gives memory back that an empty queue does not need.
    pub(super) fn release_memory(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        if rest.mail.is_empty() && rest.mail.capacity() > KEPT_CAPACITY {
            match rest.stored {
                None => self.rest = None,
                Some(_) => rest.mail = VecDeque::new(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::message::SubscriptionIdentifiers;
    use proptest::prelude::*;

    fn message(payload: u8) -> Arc<Message> {
        Arc::new(Message::new("t", vec![payload], QoS::AtMostOnce))
    }

    fn part(payloads: std::ops::Range<u8>) -> Part {
        let messages: Vec<_> = payloads.map(message).collect();
        let receiver = (QoS::AtMostOnce, &SubscriptionIdentifiers::None);
        Batch::parts(&messages, std::iter::once(receiver)).next().unwrap()
    }

    fn delivery(payload: u8) -> Delivery {
        Delivery {
            message: message(payload),
            qos: QoS::AtMostOnce,
            retain: false,
            stored: crate::session::durable::Sequence::default(),
            subscription_identifiers: SubscriptionIdentifiers::None,
            shared: None,
        }
    }

    fn payload(delivery: &Delivery) -> u8 {
        delivery.message.payload[0]
    }

    proptest! {
        #[test]
        fn what_came_first_goes_first(steps in proptest::collection::vec((0..200u8, 0..8u8, 2..9u8), 0..200)) {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (number, what, many) in steps {
                match what {
                    0..3 => {
                        queue.push(delivery(number));
                        model.push_back(number);
                    }
                    3 => {
                        queue.push_part(part(number..number + many));
                        model.extend(number..number + many);
                    }
                    4 => {
                        if let Some(part) = queue.pop_part(usize::from(many) / 2) {
                            let popped: Vec<u8> = part.deliveries().map(|d| payload(&d)).collect();
                            prop_assert!((1..=usize::from(many) / 2).contains(&popped.len()));
                            prop_assert_eq!(popped.clone(), model.drain(..popped.len()).collect::<Vec<_>>());
                        }
                    }
                    _ => {
                        prop_assert_eq!(queue.pop().as_ref().map(payload), model.pop_front());
                        queue.release_memory();
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                let front = queue.front().map(|next| next.message.payload[0]);
                prop_assert_eq!(front, model.front().copied());
            }
            let taken = queue.take().flat_map(Mail::into_deliveries);
            prop_assert_eq!(taken.map(|d| payload(&d)).collect::<VecDeque<_>>(), model);
            prop_assert_eq!(queue.len(), 0);
        }
    }
}

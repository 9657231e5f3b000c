//! A queue that needs no memory of its own for one delivery: mostly a client has taken one message before the next comes.
use super::lag::Lag;
use super::stored_queue::StoredQueue;
use crate::message::Delivery;
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
    deliveries: VecDeque<Delivery>,
    /// Of a durable session.
    stored: Option<StoredQueue>,
    /// While it is longer than it should be.
    lag: Option<Arc<Lag>>,
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
            Some(rest) if self.first.is_some() || !rest.deliveries.is_empty() => {
                rest.deliveries.push_back(delivery);
            }
            None if self.first.is_some() => {
                self.rest =
                    Some(Box::new(Rest { deliveries: VecDeque::from([delivery]), ..Rest::default() }));
            }
            _ => self.first = Some(delivery),
        }
    }

    /// There will be so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        if more > 1 {
            self.rest.get_or_insert_default().deliveries.reserve(more);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        self.first.take().or_else(|| self.rest.as_mut()?.deliveries.pop_front())
    }

    /// Takes out all that is in memory.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Delivery> + use<> {
        let rest = self.rest.as_mut().map(|rest| std::mem::take(&mut rest.deliveries));
        self.first.take().into_iter().chain(rest.unwrap_or_default())
    }

    pub(super) fn front(&self) -> Option<&Delivery> {
        self.first.as_ref().or_else(|| self.rest.as_ref()?.deliveries.front())
    }

    /// Deliveries in memory.
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.deliveries.len())
    }

    /// Whether none is in memory.
    pub(super) fn is_empty(&self) -> bool {
        self.front().is_none()
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
        if rest.deliveries.is_empty() && rest.deliveries.capacity() > KEPT_CAPACITY {
            match rest.stored {
                None => self.rest = None,
                Some(_) => rest.deliveries = VecDeque::new(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, QoS, SubscriptionIdentifiers};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn delivery(payload: u8) -> Delivery {
        Delivery {
            message: Arc::new(Message::new("t", vec![payload], QoS::AtMostOnce)),
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
        fn what_came_first_goes_first(steps in proptest::collection::vec((any::<u8>(), 0..5u8), 0..200)) {
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (number, what) in steps {
                if what < 3 {
                    queue.push(delivery(number));
                    model.push_back(number);
                } else {
                    prop_assert_eq!(queue.pop().as_ref().map(payload), model.pop_front());
                    queue.release_memory();
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.front().map(payload), model.front().copied());
            }
            prop_assert_eq!(queue.take().map(|d| payload(&d)).collect::<VecDeque<_>>(), model);
        }
    }
}

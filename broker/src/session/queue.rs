//! A queue that needs no memory of its own for one delivery: mostly a client has taken one message before the next comes.
use crate::message::Delivery;
use std::collections::VecDeque;

/// First in, first out.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Older than the rest.
    first: Option<Delivery>,
    #[expect(
        clippy::box_collection,
        reason = "mostly there is none, and a session should fit into two cache lines"
    )]
    rest: Option<Box<VecDeque<Delivery>>>,
}

/// Memory of an empty queue that is kept for the next messages, in deliveries.
const KEPT_CAPACITY: usize = 16;

impl Queue {
    pub(super) fn push(&mut self, delivery: Delivery) {
        match &mut self.rest {
            Some(rest) if self.first.is_some() || !rest.is_empty() => rest.push_back(delivery),
            None if self.first.is_some() => self.rest = Some(Box::new(VecDeque::from([delivery]))),
            _ => self.first = Some(delivery),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        self.first.take().or_else(|| self.rest.as_mut()?.pop_front())
    }

    pub(super) fn front(&self) -> Option<&Delivery> {
        self.first.as_ref().or_else(|| self.rest.as_ref()?.front())
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.front().is_none()
    }

    /// Gives memory back that an empty queue does not need.
    pub(super) fn release_memory(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty() && rest.capacity() > KEPT_CAPACITY) {
            self.rest = None;
        }
    }
}

impl Iterator for Queue {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        self.pop()
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
            prop_assert_eq!(queue.map(|d| payload(&d)).collect::<VecDeque<_>>(), model);
        }
    }
}

//! QoS 1 and 2 messages that were sent and not yet acknowledged in full.
use crate::message::{Delivery, QoS};
use std::collections::VecDeque;
use std::collections::vec_deque;
use std::fmt;

/// Memory that is kept when nothing is in flight, in messages.
const KEPT_CAPACITY: usize = 16;

/// All that is in flight, in the order of sending.
#[derive(Debug, Default)]
pub(crate) struct AllInFlight {
    messages: VecDeque<InFlight>,
    /// Where to look first: a client answers in the order in which it was sent to.
    likely: usize,
}

impl AllInFlight {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn push_back(&mut self, message: InFlight) {
        self.messages.push_back(message);
    }

    pub(crate) fn iter(&self) -> vec_deque::Iter<'_, InFlight> {
        self.messages.iter()
    }

    /// What was sent with this packet id.
    pub(crate) fn get(&mut self, packet_id: u16) -> Option<&InFlight> {
        let place = self.find(packet_id)?;
        self.messages.get(place)
    }

    /// What was sent with this packet id becomes a release, as PUBREC came. Returns what it was. The next PUBREC is probably
    /// about what was sent behind it.
    pub(crate) fn release(&mut self, packet_id: u16) -> Option<InFlight> {
        let place = self.find(packet_id)?;
        self.likely = place + 1;
        let message = self.messages.get_mut(place)?;
        Some(std::mem::replace(message, InFlight::Release { packet_id }))
    }

    /// Removes what was sent with this packet id.
    pub(crate) fn remove(&mut self, packet_id: u16) -> Option<InFlight> {
        let place = self.find(packet_id)?;
        let done = self.messages.remove(place);
        if self.messages.is_empty() && self.messages.capacity() > KEPT_CAPACITY {
            self.messages = VecDeque::new();
        }
        done
    }

    fn find(&mut self, packet_id: u16) -> Option<usize> {
        let is_it =
            |place: &usize| self.messages.get(*place).is_some_and(|message| message.packet_id() == packet_id);
        let from = self.likely.min(self.messages.len());
        let place = (from..self.messages.len()).chain(0..from).find(is_it)?;
        self.likely = place;
        Some(place)
    }
}

impl IntoIterator for AllInFlight {
    type Item = InFlight;
    type IntoIter = vec_deque::IntoIter<InFlight>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}

/// One message in flight towards the client.
#[derive(Debug, Clone)]
pub enum InFlight {
    /// PUBLISH was sent; neither PUBACK nor PUBREC came. On resume it is sent again with DUP.
    Publish {
        /// Its packet id, which a resend must use again.
        packet_id: u16,
        /// What was sent.
        delivery: Delivery,
    },
    /// QoS 2: PUBREC came, PUBCOMP did not. On resume PUBREL is sent again.
    Release {
        /// Its packet id.
        packet_id: u16,
    },
}

/// What the client has to send next for a message in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// PUBACK, of QoS 1.
    Puback,
    /// PUBREC, of QoS 2.
    Pubrec,
    /// PUBCOMP, after PUBREL.
    Pubcomp,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubcomp => "PUBCOMP",
        })
    }
}

impl InFlight {
    /// What must come next.
    pub fn awaited(&self) -> Awaited {
        match self {
            Self::Publish { delivery, .. } if delivery.qos == QoS::ExactlyOnce => Awaited::Pubrec,
            Self::Publish { .. } => Awaited::Puback,
            Self::Release { .. } => Awaited::Pubcomp,
        }
    }

    /// Its packet id.
    pub fn packet_id(&self) -> u16 {
        match self {
            Self::Publish { packet_id, .. } | Self::Release { packet_id } => *packet_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, SubscriptionIdentifiers};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn sent(packet_id: u16, qos: QoS) -> InFlight {
        let delivery = Delivery {
            message: Arc::new(Message::new("t", "", qos)),
            qos,
            retain: false,
            stored: crate::session::durable::Sequence::default(),
            subscription_identifiers: SubscriptionIdentifiers::None,
            shared: None,
        };
        InFlight::Publish { packet_id, delivery }
    }

    #[test]
    fn each_step_of_each_qos_waits_for_its_own_answer() {
        assert_eq!(sent(1, QoS::AtLeastOnce).awaited(), Awaited::Puback);
        assert_eq!(sent(1, QoS::ExactlyOnce).awaited(), Awaited::Pubrec);
        assert_eq!(InFlight::Release { packet_id: 1 }.awaited(), Awaited::Pubcomp);
    }

    proptest! {
        #[test]
        fn answers_in_any_order_find_what_they_answer(steps in proptest::collection::vec((0..4u8, 1..20u16), 0..200)) {
            let (mut all, mut model) = (AllInFlight::default(), Vec::new());
            for (what, id) in steps {
                let place = model.iter().position(|(known, _)| *known == id);
                let state = |message: InFlight| (message.packet_id(), message.awaited());
                match (what, place) {
                    (0, None) => {
                        all.push_back(sent(id, QoS::ExactlyOnce));
                        model.push((id, Awaited::Pubrec));
                    }
                    (1, _) => {
                        let was = place.map(|place| std::mem::replace(&mut model[place], (id, Awaited::Pubcomp)));
                        prop_assert_eq!(all.release(id).map(state), was);
                    }
                    (2, _) => {
                        let was = place.map(|place| model.remove(place));
                        prop_assert_eq!(all.remove(id).map(state), was);
                    }
                    _ => prop_assert_eq!(all.get(id).cloned().map(state), place.map(|place| model[place])),
                }
                prop_assert!(all.iter().cloned().map(state).eq(model.iter().copied()));
            }
        }
    }
}

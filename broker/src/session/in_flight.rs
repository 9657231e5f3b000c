//! QoS 1 and 2 messages that were sent and not yet acknowledged in full.
use crate::message::{Delivery, QoS};

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
    use std::sync::Arc;

    #[test]
    fn each_step_of_each_qos_waits_for_its_own_answer() {
        let sent = |qos| InFlight::Publish {
            packet_id: 1,
            delivery: Delivery {
                message: Arc::new(Message::new("t", "", qos)),
                qos,
                retain: false,
                stored: crate::session::durable::Sequence::default(),
                subscription_identifiers: SubscriptionIdentifiers::None,
                shared: None,
            },
        };
        assert_eq!(sent(QoS::AtLeastOnce).awaited(), Awaited::Puback);
        assert_eq!(sent(QoS::ExactlyOnce).awaited(), Awaited::Pubrec);
        assert_eq!(InFlight::Release { packet_id: 1 }.awaited(), Awaited::Pubcomp);
    }
}

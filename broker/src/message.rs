//! What travels through the broker: a message, shared by all its receivers, and its delivery to one of them.
use crate::session::durable::Sequence;
use bytes::Bytes;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// An application message (OASIS MQTT 5.0 section 3.3), made once per publish and shared by every receiver as
/// `Arc<Message>`.
#[derive(Debug, Clone)]
pub struct Message {
    /// The topic name in full: topic aliases are resolved.
    pub topic: Arc<str>,
    /// The payload.
    pub payload: Bytes,
    /// The QoS of the publisher. A delivery has the lesser of this and the QoS of the subscription.
    pub qos: QoS,
    /// The publisher's RETAIN flag.
    pub retain: bool,
    /// What MQTT 5 carries to the receivers unchanged; `None` when there is nothing.
    pub properties: Option<Box<PublishProperties>>,
    /// When the message expires (Message Expiry Interval counted from its arrival): not delivered from then on.
    pub expires_at: Option<Instant>,
    /// The session that published it, for No Local; `None` when the broker itself did.
    pub publisher: Option<SessionId>,
    /// The client that retained it, for No Local: its session may be another one by the time somebody subscribes.
    pub(crate) retained_by: Option<Arc<str>>,
    /// When it was retained, in milliseconds since 1970; 0: it is not, or nobody knows any more.
    pub(crate) retained_at: u64,
    /// How it is stored for durable sessions.
    pub(crate) stored: StoredAs,
}

/// Where a message is stored for the sessions that will get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// For none so far.
    Nowhere,
    /// With each delivery.
    Alone,
    /// Once for all, with this number.
    Numbered(u64),
}

/// [`Stored`], decided once the message is shared already. A clone is another message, and not stored.
#[derive(Default)]
pub(crate) struct StoredAs(AtomicU64);

impl StoredAs {
    const ALONE: u64 = u64::MAX;

    pub(crate) fn get(&self) -> Stored {
        match self.0.load(Ordering::Relaxed) {
            0 => Stored::Nowhere,
            Self::ALONE => Stored::Alone,
            number => Stored::Numbered(number),
        }
    }
    pub(crate) fn set(&self, stored: Stored) {
        let number = match stored {
            Stored::Nowhere => 0,
            Stored::Alone => Self::ALONE,
            Stored::Numbered(number) => number,
        };
        self.0.store(number, Ordering::Relaxed);
    }
}

impl Clone for StoredAs {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for StoredAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Message {
    /// A message with neither RETAIN, nor properties, nor an expiry, from the broker itself.
    pub fn new(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>, qos: QoS) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain: false,
            properties: None,
            expires_at: None,
            publisher: None,
            retained_by: None,
            retained_at: 0,
            stored: StoredAs::default(),
        }
    }

    /// Sets the expiry to `interval` from now.
    #[must_use]
    pub fn expiring_after(mut self, interval: Duration) -> Self {
        self.expires_at = Instant::now().checked_add(interval);
        self
    }

    /// Whether it expired by `now`.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The Message Expiry Interval to send: what the message came with less the whole seconds that it has waited (OASIS MQTT 5.0
    /// section 3.3.2.3.3), so 1 in the last second. `None` when the message does not expire.
    pub fn seconds_left(&self, now: Instant) -> Option<u32> {
        self.whole_seconds_after(Duration::from_nanos(999_999_999), now)
    }

    /// The same as AWS counts it: whole seconds left, 0 in the last second (`spec/mqtt-behaviour.md` section 5).
    pub fn whole_seconds_left(&self, now: Instant) -> Option<u32> {
        self.whole_seconds_after(Duration::ZERO, now)
    }

    fn whole_seconds_after(&self, more: Duration, now: Instant) -> Option<u32> {
        let left = self.expires_at?.saturating_duration_since(now).saturating_add(more);
        Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX))
    }

    /// Bytes that this message is charged with in a queue: topic, payload, properties and what a queue needs itself.
    pub fn queued_bytes(&self) -> usize {
        const PER_MESSAGE: usize = 128;
        let properties = self.properties.as_deref().map_or(0, PublishProperties::bytes);
        PER_MESSAGE + self.topic.len() + self.payload.len() + properties
    }

    /// The same, as a mailbox counts.
    pub(crate) fn charge(&self) -> u32 {
        u32::try_from(self.queued_bytes()).unwrap_or(u32::MAX)
    }
}

/// What a publisher says of a payload (OASIS MQTT 5.0 section 3.3.2.3.2). Nothing, and that it is any bytes, mean the same, and
/// each passes through as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFormat {
    /// Any bytes.
    Bytes = 0,
    /// UTF-8.
    Utf8 = 1,
}

/// The properties of a PUBLISH that pass through unchanged (OASIS MQTT 5.0 section 3.3.2.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Payload Format Indicator.
    pub payload_format: Option<PayloadFormat>,
    /// Content Type.
    pub content_type: Option<Box<str>>,
    /// Response Topic.
    pub response_topic: Option<Box<str>>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User Properties in their order; a name may occur more than once.
    pub user_properties: Vec<(Box<str>, Box<str>)>,
}

impl PublishProperties {
    /// Whether there is nothing to pass on.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes of Correlation Data, Response Topic and User Properties.
    pub(crate) fn passed_through_bytes(&self) -> usize {
        let user = self.user_properties.iter().map(|(name, value)| name.len() + value.len());
        self.response_topic.as_deref().map_or(0, str::len)
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + user.sum::<usize>()
    }

    fn bytes(&self) -> usize {
        const PER_PROPERTY: usize = 32;
        self.passed_through_bytes()
            + self.content_type.as_deref().map_or(0, str::len)
            + self.user_properties.len() * PER_PROPERTY
            + size_of::<Self>()
    }
}

/// Quality of service (OASIS MQTT 5.0 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// 0: sent once, not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// 1: acknowledged, may arrive twice.
    AtLeastOnce = 1,
    /// 2: arrives once.
    ExactlyOnce = 2,
}

impl From<mqtt_protocol_core::mqtt::packet::Qos> for QoS {
    fn from(qos: mqtt_protocol_core::mqtt::packet::Qos) -> Self {
        use mqtt_protocol_core::mqtt::packet::Qos;
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<QoS> for mqtt_protocol_core::mqtt::packet::Qos {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce,
            QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

/// Names a session for as long as this process lives. A persistent session keeps it over its connections; ids only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) NonZeroU64);

/// One message on its way to one session.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// The QoS to send it with.
    pub qos: QoS,
    /// The RETAIN flag to send.
    pub retain: bool,
    /// Its place in the store, if the session is durable.
    pub(crate) stored: Sequence,
    /// The identifiers of the subscriptions that it matched. MQTT 5 sends them all in one packet.
    pub subscription_identifiers: SubscriptionIdentifiers,
    /// The shared subscription that it came by. If the receiver vanishes before its acknowledgement, another member of
    /// the group gets it.
    pub(crate) shared: Option<Arc<crate::topic::Filter>>,
}

/// The Subscription Identifiers of one delivery: mostly none or one, without an allocation of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubscriptionIdentifiers {
    /// No subscription that matched has one.
    #[default]
    None,
    /// One has.
    One(NonZeroU32),
    /// Several have, in no particular order.
    Many(Box<Vec<NonZeroU32>>),
}

impl SubscriptionIdentifiers {
    /// All of them.
    pub fn as_slice(&self) -> &[NonZeroU32] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Adds one, once for every subscription that has it (OASIS MQTT 5.0 section 3.3.4).
    pub fn add(&mut self, identifier: NonZeroU32) {
        match self {
            Self::None => *self = Self::One(identifier),
            Self::One(one) => *self = Self::Many(Box::new(vec![*one, identifier])),
            Self::Many(many) => many.push(identifier),
        }
    }
}

impl From<Option<NonZeroU32>> for SubscriptionIdentifiers {
    fn from(identifier: Option<NonZeroU32>) -> Self {
        identifier.map_or(Self::None, Self::One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_stays_small() {
        assert!(size_of::<Delivery>() <= 40, "{}", size_of::<Delivery>());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_second_of_a_message_counts_as_one_second_left_and_for_aws_as_none() {
        let message = Message::new("t", "p", QoS::AtLeastOnce).expiring_after(Duration::from_secs(2));
        let left = || {
            let now = Instant::now();
            (message.seconds_left(now), message.whole_seconds_left(now), message.is_expired(now))
        };
        assert_eq!(left(), (Some(2), Some(2), false));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(left(), (Some(2), Some(1), false));
        tokio::time::advance(Duration::from_millis(1998)).await;
        assert_eq!(left(), (Some(1), Some(0), false));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(left(), (Some(0), Some(0), true));
    }

    #[test]
    fn identifiers_are_collected_once_for_each_subscription() {
        let id = |n| NonZeroU32::new(n).unwrap();
        let mut identifiers = SubscriptionIdentifiers::default();
        for n in [1, 1, 2, 3, 2] {
            identifiers.add(id(n));
        }
        assert_eq!(identifiers.as_slice(), [id(1), id(1), id(2), id(3), id(2)]);
    }
}

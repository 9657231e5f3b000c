//! What is stored of a session: itself, its subscriptions, messages for it, and what is in flight.
use super::fields::{Reader, Unreadable, Writer};
use super::sequence::Sequence;
use super::stored_message::{decode_message, qos};
use super::wall::Wall;
use crate::backend::{ProtocolVersion, RetainHandling, SubscribeOptions};
use crate::message::{Delivery, Message, QoS, Stored, SubscriptionIdentifiers};
use crate::topic::{Filter, MAX_LEVELS, TopicLimits};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSession {
    pub(crate) client_id: Arc<str>,
    pub(crate) version: ProtocolVersion,
    /// How long it outlives its connection.
    pub(crate) expiry: Duration,
    /// Milliseconds since 1970; `None` while it has a connection.
    pub(crate) waits_until: Option<u64>,
    /// It had one when the process was killed: nobody knows what was sent.
    pub(crate) uncertain: bool,
}

impl StoredSession {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::new(self.client_id.len() + 20);
        row.byte(match self.version {
            ProtocolVersion::V311 => 4,
            ProtocolVersion::V5 => 5,
        });
        row.long(self.expiry.as_secs());
        row.long(self.waits_until.unwrap_or(u64::MAX));
        row.byte(u8::from(self.uncertain));
        row.binary(self.client_id.as_bytes());
        row.rest(&[])
    }
    pub(crate) fn decode(row: &[u8]) -> Result<Self, Unreadable> {
        let mut row = Reader::new(row)?;
        let version = match row.byte()? {
            4 => ProtocolVersion::V311,
            5 => ProtocolVersion::V5,
            _ => return Err(Unreadable),
        };
        let expiry = Duration::from_secs(row.long()?);
        let waits_until = Some(row.long()?).filter(|at| *at != u64::MAX);
        let uncertain = row.byte()? != 0;
        let client_id = row.shared_text()?;
        row.end()?;
        Ok(Self { client_id, version, expiry, waits_until, uncertain })
    }
}

/// A filter of a stored row. It was within the limits of its time; other limits do not take it away.
pub(crate) fn stored_filter(text: &str) -> Result<Filter, Unreadable> {
    Filter::parse(text, TopicLimits { bytes: usize::from(u16::MAX), levels: MAX_LEVELS })
        .map_err(|_| Unreadable)
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// Where the retained messages begin that a subscription is still owed: at a topic, or behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) topic: Arc<str>,
    pub(crate) with_it: bool,
}

/// The options of a subscription, and what it is owed of the retained messages.
pub(crate) fn encode_subscription(options: &SubscribeOptions, owed: Option<&Owed>) -> Vec<u8> {
    let mut row = Writer::new(16);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    row.byte(
        options.qos as u8
            | flag(options.no_local, NO_LOCAL)
            | flag(options.retain_as_published, RETAIN_AS_PUBLISHED),
    );
    row.byte(match options.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    });
    row.int(options.identifier.map_or(0, NonZeroU32::get));
    row.byte(match owed {
        None => 0,
        Some(Owed { with_it: true, .. }) => 1,
        Some(Owed { with_it: false, .. }) => 2,
    });
    if let Some(owed) = owed {
        row.binary(owed.topic.as_bytes());
    }
    row.rest(&[])
}

/// Reads what [`encode_subscription`] wrote.
pub(crate) fn decode_subscription(row: &[u8]) -> Result<(SubscribeOptions, Option<Owed>), Unreadable> {
    let mut row = Reader::new(row)?;
    let flags = row.byte()?;
    let options = SubscribeOptions {
        qos: qos(flags & 0b11)?,
        no_local: flags & NO_LOCAL != 0,
        retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
        retain_handling: match row.byte()? {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Unreadable),
        },
        identifier: NonZeroU32::new(row.int()?),
    };
    let owed = match row.byte()? {
        0 => None,
        kind @ (1 | 2) => Some(Owed { topic: row.shared_text()?, with_it: kind == 1 }),
        _ => return Err(Unreadable),
    };
    row.end()?;
    Ok((options, owed))
}

/// What is known of a message in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredInFlight {
    /// Where the message is, or was.
    pub(crate) place: u64,
    /// PUBREC came: PUBREL is owed, and the message is gone.
    pub(crate) released: bool,
}

impl StoredInFlight {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut row = Writer::new(9);
        row.byte(u8::from(self.released));
        row.long(self.place);
        row.rest(&[])
    }
    pub(crate) fn decode(row: &[u8]) -> Result<Self, Unreadable> {
        let mut row = Reader::new(row)?;
        let released = row.byte()? != 0;
        let place = row.long()?;
        row.end()?;
        Ok(Self { place, released })
    }
}

/// A message for one session, as it is stored: how it is to be delivered, and the message or where that is.
#[derive(Debug)]
pub(crate) struct StoredDelivery<'a> {
    /// What it counts against the bounds.
    pub(crate) charge: u32,
    qos: QoS,
    retain: bool,
    identifiers: SubscriptionIdentifiers,
    shared: Option<Arc<Filter>>,
    pub(crate) message: StoredWhere<'a>,
}

/// Where a delivery's message is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StoredWhere<'a> {
    /// In the row itself.
    Here(&'a [u8]),
    /// In a row of its own, as others refer to it, too.
    Numbered(u64),
}

impl StoredWhere<'_> {
    pub(crate) fn stored(self) -> Stored {
        match self {
            Self::Here(_) => Stored::Alone,
            Self::Numbered(number) => Stored::Numbered(number),
        }
    }
}

const RETAIN: u8 = 1 << 2;
const SHARED: u8 = 1 << 3;
const HERE: u8 = 1 << 4;

/// What [`StoredDelivery::decode`] reads.
pub(crate) fn encode_delivery(delivery: &Delivery, charge: u32, message: StoredWhere<'_>) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let here = if let StoredWhere::Here(bytes) = message { bytes } else { &[] };
    let mut row = Writer::new(32 + here.len());
    row.byte(
        delivery.qos as u8
            | flag(delivery.retain, RETAIN)
            | flag(delivery.shared.is_some(), SHARED)
            | flag(matches!(message, StoredWhere::Here(_)), HERE),
    );
    row.int(charge);
    let identifiers = delivery.subscription_identifiers.as_slice();
    row.short(u16::try_from(identifiers.len()).unwrap_or(u16::MAX));
    for identifier in identifiers.iter().take(usize::from(u16::MAX)) {
        row.int(identifier.get());
    }
    if let Some(filter) = &delivery.shared {
        row.binary(filter.as_str().as_bytes());
    }
    if let StoredWhere::Numbered(number) = message {
        row.long(number);
    }
    row.rest(here)
}

impl<'a> StoredDelivery<'a> {
    /// Reads what [`encode_delivery`] wrote.
    pub(crate) fn decode(row: &'a [u8]) -> Result<Self, Unreadable> {
        let mut row = Reader::new(row)?;
        let flags = row.byte()?;
        let charge = row.int()?;
        let mut identifiers = SubscriptionIdentifiers::None;
        for _ in 0..row.short()? {
            identifiers.add(NonZeroU32::new(row.int()?).ok_or(Unreadable)?);
        }
        let shared = match flags & SHARED != 0 {
            true => Some(Arc::new(stored_filter(row.text()?)?)),
            false => None,
        };
        let message = if flags & HERE != 0 {
            StoredWhere::Here(row.rest())
        } else {
            let number = row.long()?;
            row.end()?;
            StoredWhere::Numbered(number)
        };
        Ok(Self {
            charge,
            qos: qos(flags & 0b11)?,
            retain: flags & RETAIN != 0,
            identifiers,
            shared,
            message,
        })
    }

    /// Did it come by a shared subscription?
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// The delivery, with the message's bytes if they are elsewhere.
    pub(crate) fn into_delivery(
        self,
        place: u64,
        elsewhere: Option<&[u8]>,
        wall: &Wall,
    ) -> Result<Delivery, Unreadable> {
        let bytes = match self.message {
            StoredWhere::Here(bytes) => bytes,
            StoredWhere::Numbered(_) => elsewhere.ok_or(Unreadable)?,
        };
        let message: Message = decode_message(bytes, wall)?;
        message.stored.set(self.message.stored());
        Ok(Delivery {
            message: Arc::new(message),
            qos: self.qos,
            retain: self.retain,
            stored: Sequence::new(place),
            subscription_identifiers: self.identifiers,
            shared: self.shared,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored_message::encode_message;
    use super::*;
    use jitp_provisioner::SystemClock;
    use proptest::prelude::*;

    fn wall() -> Wall {
        Wall::new(Arc::new(SystemClock))
    }

    #[test]
    fn a_session_and_its_subscriptions_are_read_as_they_were_written() {
        for (waits_until, uncertain) in [(None, true), (Some(1_767_225_600_000), false)] {
            let session = StoredSession {
                client_id: "pump é".into(),
                version: ProtocolVersion::V311,
                expiry: Duration::from_secs(3600),
                waits_until,
                uncertain,
            };
            assert_eq!(StoredSession::decode(&session.encode()), Ok(session));
        }
        let options = SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
            identifier: NonZeroU32::new(268_435_455),
        };
        for owed in [None, Some(true), Some(false)] {
            let owed = owed.map(|with_it| Owed { topic: "a/b".into(), with_it });
            let row = encode_subscription(&options, owed.as_ref());
            assert_eq!(decode_subscription(&row), Ok((options, owed)));
        }
        let in_flight = StoredInFlight { place: 9, released: true };
        assert_eq!(StoredInFlight::decode(&in_flight.encode()), Ok(in_flight));
        assert_eq!(StoredInFlight::decode(&[2, 0]), Err(Unreadable), "of a newer program");
    }

    #[test]
    fn a_delivery_is_read_as_it_was_written_with_its_message_here_or_elsewhere() {
        let mut delivery = Delivery {
            message: Arc::new(Message::new("t", "p", QoS::ExactlyOnce)),
            qos: QoS::AtLeastOnce,
            retain: true,
            stored: Sequence::default(),
            subscription_identifiers: NonZeroU32::new(3).into(),
            shared: Some(Arc::new(stored_filter("$share/g/t/+").unwrap())),
        };
        delivery.subscription_identifiers.add(NonZeroU32::MIN);
        let message = encode_message(&delivery.message, &wall());
        for stored in [StoredWhere::Here(&message), StoredWhere::Numbered(77)] {
            let row = encode_delivery(&delivery, 130, stored);
            let read = StoredDelivery::decode(&row).unwrap();
            assert!(read.is_shared());
            assert_eq!(read.charge, 130);
            let elsewhere = matches!(stored, StoredWhere::Numbered(_)).then_some(&message[..]);
            let read = read.into_delivery(12, elsewhere, &wall()).unwrap();
            assert_eq!((read.qos, read.retain, read.stored.place()), (QoS::AtLeastOnce, true, 12));
            assert_eq!(read.subscription_identifiers, delivery.subscription_identifiers);
            assert_eq!(read.shared, delivery.shared);
            assert_eq!(read.message.payload, delivery.message.payload);
            assert_eq!(read.message.stored.get(), stored.stored());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stored_is_read_or_refused(row in proptest::collection::vec(any::<u8>(), 0..60)) {
            let row = [&[1], &row[..]].concat();
            let _ = StoredSession::decode(&row);
            let _ = decode_subscription(&row);
            let _ = StoredInFlight::decode(&row);
            if let Ok(delivery) = StoredDelivery::decode(&row) {
                let _ = delivery.into_delivery(1, Some(&[1, 0]), &wall());
            }
        }
    }
}

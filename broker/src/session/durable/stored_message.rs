//! A message as it is stored, alone or within a reference to it.
use super::fields::{Reader, Unreadable, Writer};
use super::wall::Wall;
use crate::message::{Message, PayloadFormat, PublishProperties, QoS, SessionId};
use bytes::Bytes;
use std::num::NonZeroU64;

const QOS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const PUBLISHED_BY: u8 = 1 << 4;
const PROPERTIES: u8 = 1 << 5;
const RETAINED_AT: u8 = 1 << 6;
const RETAINED_BY: u8 = 1 << 7;

const UTF8: u8 = 1;
const CONTENT_TYPE: u8 = 1 << 1;
const RESPONSE_TOPIC: u8 = 1 << 2;
const CORRELATION_DATA: u8 = 1 << 3;
const BYTES: u8 = 1 << 4;

/// What [`decode_message`] reads.
pub(crate) fn encode_message(message: &Message, wall: &Wall) -> Vec<u8> {
    let properties = message.properties.as_deref();
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let mut row = Writer::new(message.queued_bytes());
    row.byte(
        message.qos as u8
            | flag(message.retain, RETAIN)
            | flag(message.expires_at.is_some(), EXPIRES)
            | flag(message.publisher.is_some(), PUBLISHED_BY)
            | flag(properties.is_some(), PROPERTIES)
            | flag(message.retained_at > 0, RETAINED_AT)
            | flag(message.retained_by.is_some(), RETAINED_BY),
    );
    row.binary(message.topic.as_bytes());
    if let Some(at) = message.expires_at {
        row.long(wall.at(at));
    }
    if let Some(publisher) = message.publisher {
        row.long(publisher.0.get());
    }
    if message.retained_at > 0 {
        row.long(message.retained_at);
    }
    if let Some(client_id) = &message.retained_by {
        row.binary(client_id.as_bytes());
    }
    if let Some(properties) = properties {
        row.byte(
            flag(properties.payload_format == Some(PayloadFormat::Utf8), UTF8)
                | flag(properties.payload_format == Some(PayloadFormat::Bytes), BYTES)
                | flag(properties.content_type.is_some(), CONTENT_TYPE)
                | flag(properties.response_topic.is_some(), RESPONSE_TOPIC)
                | flag(properties.correlation_data.is_some(), CORRELATION_DATA),
        );
        for text in [&properties.content_type, &properties.response_topic].into_iter().flatten() {
            row.binary(text.as_bytes());
        }
        if let Some(data) = &properties.correlation_data {
            row.binary(data);
        }
        row.int(u32::try_from(properties.user_properties.len()).unwrap_or(u32::MAX));
        for (name, value) in &properties.user_properties {
            row.binary(name.as_bytes());
            row.binary(value.as_bytes());
        }
    }
    row.rest(&message.payload)
}

/// Reads what [`encode_message`] wrote.
pub(crate) fn decode_message(row: &[u8], wall: &Wall) -> Result<Message, Unreadable> {
    let mut row = Reader::new(row)?;
    let flags = row.byte()?;
    let has = |flag: u8| flags & flag != 0;
    let qos = qos(flags & QOS)?;
    let mut message = Message::new(row.shared_text()?, Bytes::new(), qos);
    message.retain = has(RETAIN);
    if has(EXPIRES) {
        message.expires_at = Some(wall.instant(row.long()?));
    }
    if has(PUBLISHED_BY) {
        message.publisher = Some(SessionId(NonZeroU64::new(row.long()?).ok_or(Unreadable)?));
    }
    if has(RETAINED_AT) {
        message.retained_at = row.long()?;
    }
    if has(RETAINED_BY) {
        message.retained_by = Some(row.shared_text()?);
    }
    if has(PROPERTIES) {
        message.properties = Some(Box::new(properties(&mut row)?));
    }
    message.payload = Bytes::copy_from_slice(row.rest());
    Ok(message)
}

pub(super) fn qos(number: u8) -> Result<QoS, Unreadable> {
    match number {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(Unreadable),
    }
}

fn properties(row: &mut Reader<'_>) -> Result<PublishProperties, Unreadable> {
    let flags = row.byte()?;
    let payload_format = match (flags & UTF8 != 0, flags & BYTES != 0) {
        (true, _) => Some(PayloadFormat::Utf8),
        (false, true) => Some(PayloadFormat::Bytes),
        (false, false) => None,
    };
    let mut properties = PublishProperties { payload_format, ..PublishProperties::default() };
    if flags & CONTENT_TYPE != 0 {
        properties.content_type = Some(row.text()?.into());
    }
    if flags & RESPONSE_TOPIC != 0 {
        properties.response_topic = Some(row.text()?.into());
    }
    if flags & CORRELATION_DATA != 0 {
        properties.correlation_data = Some(Bytes::copy_from_slice(row.binary()?));
    }
    for _ in 0..row.int()? {
        properties.user_properties.push((row.text()?.into(), row.text()?.into()));
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jitp_provisioner::{ManualClock, Timestamp};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn wall() -> (Wall, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp(1_767_225_600_000)));
        (Wall::new(Arc::clone(&clock) as Arc<dyn jitp_provisioner::Clock>), clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_read_as_it_was_written_and_expires_by_the_clock_on_the_wall() {
        let (wall, clock) = wall();
        let mut message =
            Message::new("a/b", "payload", QoS::ExactlyOnce).expiring_after(Duration::from_secs(9));
        message.retain = true;
        message.retained_at = 1_767_225_600_001;
        message.retained_by = Some("pump é".into());
        message.publisher = Some(SessionId(NonZeroU64::MAX));
        message.properties = Some(Box::new(PublishProperties {
            payload_format: Some(PayloadFormat::Utf8),
            content_type: Some("text".into()),
            response_topic: None,
            correlation_data: Some(Bytes::from_static(b"\0\xff")),
            user_properties: vec![("n".into(), "v".into()), ("n".into(), "".into())],
        }));
        let row = encode_message(&message, &wall);
        // The next process starts four seconds later.
        clock.set(Timestamp(1_767_225_604_000));
        let read = decode_message(&row, &wall).unwrap();
        assert_eq!((&*read.topic, &*read.payload, read.qos), ("a/b", &b"payload"[..], QoS::ExactlyOnce));
        assert_eq!((read.retain, read.publisher), (true, message.publisher));
        assert_eq!((read.retained_at, &read.retained_by), (message.retained_at, &message.retained_by));
        assert_eq!(read.properties, message.properties);
        assert_eq!(read.seconds_left(tokio::time::Instant::now()), Some(5));
        assert_eq!(read.queued_bytes(), message.queued_bytes());
    }

    #[test]
    fn what_was_said_of_the_payload_is_kept_as_it_was_said() {
        let wall = wall().0;
        for payload_format in [None, Some(PayloadFormat::Bytes), Some(PayloadFormat::Utf8)] {
            let mut message = Message::new("t", "p", QoS::AtLeastOnce);
            let properties =
                PublishProperties { payload_format, content_type: Some("c".into()), ..Default::default() };
            message.properties = Some(Box::new(properties));
            let read = decode_message(&encode_message(&message, &wall), &wall).unwrap();
            assert_eq!(read.properties, message.properties);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stored_is_read_or_refused(row in proptest::collection::vec(any::<u8>(), 0..80)) {
            let versioned = [&[1], &row[..]].concat();
            let _ = decode_message(&row, &wall().0);
            let _ = decode_message(&versioned, &wall().0);
        }
    }
}

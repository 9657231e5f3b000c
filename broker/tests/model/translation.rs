//! What scripts and the model say, in the words of the broker, and back.
use super::script::{Connect, FILTERS, TOPICS};
use super::semantics::{self, Received};
use jitp_broker::backend::{OpenRequest, ProtocolVersion, Will};
use jitp_broker::message::{Delivery, Message, PublishProperties};
use jitp_broker::topic::{Filter, TopicLimits};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Asks a future once.
pub fn once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?}, and not {expected:?}")) }
}

pub fn filter(number: usize) -> Filter {
    Filter::parse(FILTERS[number], TopicLimits { bytes: 64, levels: 8 }).unwrap()
}

pub fn request(connect: &Connect, will: Option<usize>) -> OpenRequest {
    let last = connect.will.as_ref().zip(will).map(|(will, number)| Will {
        message: message(
            number,
            &semantics::Message {
                publisher: Some(connect.client),
                topic: will.topic,
                qos: will.qos,
                retain: will.retain,
                empty: false,
                expiry: None,
            },
        ),
        message_expiry: will.expiry.map(Duration::from_secs),
        delay: Duration::from_secs(will.delay),
        authority: None,
    });
    OpenRequest {
        client_id: format!("c{}", connect.client).into(),
        certificate: None,
        version: if connect.v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 },
        clean_start: connect.clean,
        session_expiry: Duration::from_secs(connect.expiry),
        receive_maximum: connect.receive_maximum,
        will: last,
    }
}

/// The number of a message is in its Correlation Data. Every third message is too large to be stored with each session.
pub fn message(number: usize, of: &semantics::Message) -> Message {
    let payload =
        if of.empty { Vec::new() } else { vec![b'p'; if number.is_multiple_of(3) { 200 } else { 1 }] };
    let mut message = Message::new(TOPICS[of.topic], payload, of.qos);
    message.retain = of.retain;
    message.properties = Some(Box::new(PublishProperties {
        correlation_data: Some(number.to_string().into_bytes().into()),
        ..PublishProperties::default()
    }));
    match of.expiry {
        Some(expiry) => message.expiring_after(Duration::from_secs(expiry)),
        None => message,
    }
}

pub fn number_of(message: &Message) -> Option<usize> {
    let data = message.properties.as_ref()?.correlation_data.as_ref()?;
    std::str::from_utf8(data).ok()?.parse().ok()
}

pub fn received(delivery: &Delivery) -> Result<Received, String> {
    let message = &delivery.message;
    let mut identifiers: Vec<u32> =
        delivery.subscription_identifiers.as_slice().iter().map(|identifier| identifier.get()).collect();
    identifiers.sort_unstable();
    Ok(Received {
        number: number_of(message).ok_or_else(|| format!("a message that nobody published: {message:?}"))?,
        topic: message.topic.to_string(),
        qos: delivery.qos,
        retain: delivery.retain,
        identifiers,
    })
}

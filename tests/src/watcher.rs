//! Someone who listens to topics.
use crate::wire::{self, Wire};
use crate::{Broker, Frame};
use anyhow::{Context, ensure};
use jitp_certs::Issued;
use serde_json::Value;

/// A subscriber over MQTT 3.1.1, QoS 1. What it heard and nobody asked for yet stays at hand.
pub struct Watcher {
    wire: Wire,
    heard: Vec<Message>,
}

/// A message that a watcher heard.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload as JSON, or as a JSON string if it is none.
    pub payload: Value,
}

impl Message {
    /// A string member of the payload; empty when absent.
    pub fn text(&self, member: &str) -> &str {
        self.payload.get(member).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Watcher {
    /// Connects and subscribes.
    pub async fn connect(
        broker: &Broker,
        who: &Issued,
        client_id: &str,
        filters: &[&str],
    ) -> anyhow::Result<Self> {
        Self::connect_as(broker, who, &wire::connect(4, client_id), filters).await
    }

    /// Connects with a session that outlives the connection, and subscribes.
    pub async fn persistent(
        broker: &Broker,
        who: &Issued,
        client_id: &str,
        filters: &[&str],
    ) -> anyhow::Result<Self> {
        Self::connect_as(broker, who, &wire::connect_persistent(client_id), filters).await
    }

    async fn connect_as(
        broker: &Broker,
        who: &Issued,
        packet: &[u8],
        filters: &[&str],
    ) -> anyhow::Result<Self> {
        let (wire, answer) = Wire::connect_as(broker, who, packet).await?;
        ensure!(answer.connack_code()? == 0, "the watcher is not let in: {answer:?}");
        let mut watcher = Self { wire, heard: Vec::new() };
        for filter in filters {
            watcher.wire.send(&wire::subscribe(filter, 1, 1)).await?;
            let answer = loop {
                let frame = watcher.frame().await?;
                if frame.kind() == 9 {
                    break frame;
                }
            };
            ensure!(answer.body.get(2).is_some_and(|code| *code < 0x80), "{filter} is refused: {answer:?}");
        }
        Ok(watcher)
    }

    /// The first message that is this, of those heard before and those to come.
    pub async fn until(&mut self, what: &str, is_this: impl Fn(&Message) -> bool) -> anyhow::Result<Message> {
        if let Some(at) = self.heard.iter().position(&is_this) {
            return Ok(self.heard.remove(at));
        }
        loop {
            let message = self.next().await.with_context(|| format!("waiting for {what}"))?;
            if is_this(&message) {
                return Ok(message);
            }
            self.heard.push(message);
        }
    }

    /// The next message to come.
    pub async fn next(&mut self) -> anyhow::Result<Message> {
        let known = self.heard.len();
        while self.heard.len() == known {
            self.frame().await?;
        }
        self.heard.pop().context("heard nothing")
    }

    /// What was heard and not asked for.
    pub fn heard(&self) -> &[Message] {
        &self.heard
    }

    /// The next packet; a message is acknowledged and kept.
    async fn frame(&mut self) -> anyhow::Result<Frame> {
        let frame = self.wire.receive().await?.context("the watcher was disconnected")?;
        if frame.kind() == 3 {
            let (message, id) = parse(&frame).with_context(|| format!("not a PUBLISH: {frame:?}"))?;
            if let Some(id) = id {
                self.wire.send(&wire::puback(id)).await?;
            }
            self.heard.push(message);
        }
        Ok(frame)
    }
}

fn parse(frame: &Frame) -> Option<(Message, Option<u16>)> {
    let (length, rest) = frame.body.split_first_chunk::<2>()?;
    let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (id, payload) = if frame.header & 0x06 == 0 {
        (None, rest)
    } else {
        let (id, rest) = rest.split_first_chunk::<2>()?;
        (Some(u16::from_be_bytes(*id)), rest)
    };
    let payload = serde_json::from_slice(payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(payload).into_owned()));
    Some((Message { topic: String::from_utf8_lossy(topic).into_owned(), payload }, id))
}

//! Requests over MQTT and their answers on one connection, at QoS 1: `TOPIC`, then `TOPIC/accepted` or `TOPIC/rejected`.
use crate::client::{Connected, Stream, goodbye};
use crate::frames::Frames;
use crate::mqtt;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An answer that takes longer is a failure: 64 devices may wait for RSA keys of one processor.
const DEADLINE: Duration = Duration::from_secs(60);

/// A connection that asks one thing at a time.
pub struct Conversation {
    stream: Stream,
    frames: Frames,
    buffer: Vec<u8>,
    packet_id: u16,
}

struct Answer {
    topic: Vec<u8>,
    payload: Vec<u8>,
}

impl Conversation {
    /// Subscribes to where the answers come.
    pub async fn begin(mut connected: Connected, filters: &[&str]) -> anyhow::Result<Self> {
        connected.subscribe(filters, 1).await?;
        let stream = connected.stream;
        Ok(Self { stream, frames: Frames::default(), buffer: vec![0; 16 * 1024], packet_id: 1 })
    }

    /// Publishes a request; gives the payload of the answer, which must be on `TOPIC/accepted`.
    pub async fn ask(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<Value> {
        let mut packet = Vec::with_capacity(topic.len() + payload.len() + 16);
        mqtt::publish(&mut packet, topic, payload, Some((1, self.packet_id)));
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.send(&packet).await?;
        let answer = tokio::time::timeout(DEADLINE, self.answer()).await;
        let answer = answer.with_context(|| format!("no answer to {topic}"))??;
        if answer.topic.strip_prefix(topic.as_bytes()) != Some(b"/accepted") {
            let (topic, payload) =
                (String::from_utf8_lossy(&answer.topic), String::from_utf8_lossy(&answer.payload));
            bail!("{topic}: {payload}");
        }
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    /// DISCONNECT.
    pub async fn end(self) {
        goodbye(self.stream).await;
    }

    /// The next message, acknowledged.
    async fn answer(&mut self) -> anyhow::Result<Answer> {
        loop {
            let length = self.stream.read(&mut self.buffer).await?;
            ensure!(length > 0, "the server has closed the connection");
            let (mut answer, mut acknowledgement) = (None, Vec::new());
            self.frames.feed(self.buffer.get(..length).unwrap_or_default(), |packet| {
                if let Some((topic, payload)) = packet.message() {
                    answer = Some(Answer { topic: topic.to_owned(), payload: payload.to_owned() });
                    if let Some(id) = packet.packet_id() {
                        mqtt::answer(&mut acknowledgement, mqtt::PUBACK, id);
                    }
                }
            })?;
            if let Some(answer) = answer {
                self.send(&acknowledgement).await?;
                return Ok(answer);
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }
}

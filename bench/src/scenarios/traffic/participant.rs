//! A connection that publishes, receives, or both.
use super::publishing::{Due, Publishing};
use super::receiving::Receiving;
use crate::client::{Stream, goodbye};
use crate::frames::{Frames, Packet};
use crate::mqtt;
use anyhow::ensure;
use std::future::pending;
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BUFFER: usize = 64 * 1024;

/// One device at work.
pub struct Participant {
    pub stream: Stream,
    pub publishing: Option<Publishing>,
    pub receiving: Option<Receiving>,
}

/// Of the messages that were timed, in microseconds.
#[derive(Default)]
pub struct Times {
    /// From when each was due to when it was read.
    pub took: Vec<u32>,
    /// From when each was due to when it was written: what of that is the generator's.
    pub late: Vec<u32>,
}

/// What a read has brought, to be answered in one write.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    settled: u64,
}

impl Participant {
    /// A receiver works until its flow has finished, a mere publisher until all is published and acknowledged.
    pub async fn run(mut self) -> anyhow::Result<Times> {
        let flow = self.receiving.as_ref().map(Receiving::flow);
        let mut finished = pin!(async {
            match flow {
                Some(flow) => flow.finished().await,
                None => pending().await,
            }
        });
        let mut frames = Frames::default();
        let mut buffer = vec![0; BUFFER];
        let mut answers = Answers::default();
        while self.receiving.is_some() || !self.publishing.as_ref().is_none_or(Publishing::has_ended) {
            tokio::select! {
                biased;
                length = self.stream.read(&mut buffer) => {
                    let length = length?;
                    ensure!(length > 0, "the server has closed the connection");
                    let bytes = buffer.get(..length).unwrap_or_default();
                    answers.take(&mut frames, bytes, self.receiving.as_mut())?;
                    if let Some(receiving) = &mut self.receiving {
                        receiving.report()?;
                    }
                    if let Some(publishing) = &mut self.publishing {
                        publishing.settle(answers.settled)?;
                    }
                    if !answers.bytes.is_empty() {
                        self.stream.write_all(&answers.bytes).await?;
                        self.stream.flush().await?;
                    }
                }
                due = next(self.publishing.as_mut()) => {
                    if let Some((publishing, due)) = self.publishing.as_mut().zip(due) {
                        self.stream.write_all(publishing.encode(&due)).await?;
                        self.stream.flush().await?;
                    }
                }
                () = &mut finished => break,
            }
        }
        goodbye(self.stream).await;
        Ok(Times {
            took: self.receiving.map(Receiving::into_micros).unwrap_or_default(),
            late: self.publishing.map(Publishing::into_late).unwrap_or_default(),
        })
    }
}

/// What is due; waits forever if there is nothing to publish or no room for it.
async fn next(publishing: Option<&mut Publishing>) -> Option<Due> {
    match publishing {
        Some(publishing) if publishing.may_publish() => publishing.next().await,
        _ => pending().await,
    }
}

impl Answers {
    fn take(
        &mut self,
        frames: &mut Frames,
        bytes: &[u8],
        mut receiving: Option<&mut Receiving>,
    ) -> anyhow::Result<()> {
        self.bytes.clear();
        self.settled = 0;
        let now = receiving.as_ref().and_then(|receiving| receiving.clock());
        frames.feed(bytes, |packet| {
            if packet.kind() == mqtt::PUBLISH
                && let Some(receiving) = &mut receiving
            {
                receiving.take(&packet, now);
            }
            self.answer(&packet);
        })
    }

    fn answer(&mut self, packet: &Packet<'_>) {
        let answer = match (packet.kind(), packet.qos()) {
            (mqtt::PUBLISH, 1) => mqtt::PUBACK,
            (mqtt::PUBLISH, 2) => mqtt::PUBREC,
            (mqtt::PUBREC, _) => mqtt::PUBREL,
            (mqtt::PUBREL, _) => mqtt::PUBCOMP,
            (mqtt::PUBACK | mqtt::PUBCOMP, _) => {
                self.settled += 1;
                return;
            }
            _ => return,
        };
        if let Some(id) = packet.packet_id() {
            mqtt::answer(&mut self.bytes, answer, id);
        }
    }
}

//! A publisher: several messages per write.
use super::{Flow, PAYLOAD};
use crate::client::{Stream, goodbye};
use crate::frames::Frames;
use crate::mqtt;
use anyhow::ensure;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Unacknowledged messages of QoS 1, of a publisher that writes several at once. Others wait for each.
const WINDOW: u64 = 96;

/// What it publishes, and how.
pub struct Publisher {
    pub flow: Arc<Flow>,
    pub topic: String,
    /// Messages per write.
    pub batch: u64,
}

impl Publisher {
    /// Publishes until the flow stops; at QoS 1, until all is acknowledged.
    pub async fn run(self, stream: Stream, qos: u8) -> anyhow::Result<()> {
        match qos {
            0 => self.fire(stream).await,
            _ => self.acknowledged(stream).await,
        }
    }

    async fn fire(&self, mut stream: Stream) -> anyhow::Result<()> {
        let mut batch = Vec::new();
        for _ in 0..self.batch {
            mqtt::publish(&mut batch, &self.topic, &PAYLOAD, None);
        }
        while self.flow.take(self.batch).await {
            stream.write_all(&batch).await?;
            stream.flush().await?;
        }
        goodbye(stream).await;
        Ok(())
    }

    async fn acknowledged(&self, mut stream: Stream) -> anyhow::Result<()> {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 4096];
        let mut batch = Vec::new();
        let mut outstanding = 0;
        let mut ids = (1..=u16::MAX).cycle();
        let window = if self.batch == 1 { 1 } else { WINDOW };
        let mut open = true;
        while open || outstanding > 0 {
            if open && outstanding + self.batch <= window {
                open = self.flow.take(self.batch).await;
                if open {
                    batch.clear();
                    for id in ids.by_ref().take(usize::try_from(self.batch)?) {
                        mqtt::publish(&mut batch, &self.topic, &PAYLOAD, Some(id));
                    }
                    stream.write_all(&batch).await?;
                    stream.flush().await?;
                    outstanding += self.batch;
                }
            } else {
                let length = stream.read(&mut buffer).await?;
                ensure!(length > 0, "the server has closed the connection");
                let mut acknowledged = 0;
                frames.feed(buffer.get(..length).unwrap_or_default(), |packet| {
                    acknowledged += u64::from(packet.kind() == mqtt::PUBACK);
                })?;
                ensure!(acknowledged <= outstanding, "more acknowledgements than messages");
                outstanding -= acknowledged;
            }
        }
        goodbye(stream).await;
        Ok(())
    }
}

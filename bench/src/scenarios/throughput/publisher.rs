//! A publisher: as many messages per write as it may send.
use super::{Flow, PAYLOAD};
use crate::client::Stream;
use crate::frames::Frames;
use crate::mqtt;
use anyhow::ensure;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Messages written at once.
const BATCH: u64 = 32;
/// Unacknowledged messages of QoS 1.
const WINDOW: u64 = 100;

/// Publishes until the flow stops; at QoS 1, until all is acknowledged.
pub async fn run(stream: Stream, flow: Arc<Flow>, topic: String, qos: u8) -> anyhow::Result<()> {
    match qos {
        0 => fire(stream, &flow, &topic).await,
        _ => acknowledged(stream, &flow, &topic).await,
    }
}

async fn fire(mut stream: Stream, flow: &Flow, topic: &str) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    for _ in 0..BATCH {
        mqtt::publish(&mut batch, topic, &PAYLOAD, None);
    }
    while flow.take(BATCH).await {
        stream.write_all(&batch).await?;
        stream.flush().await?;
    }
    goodbye(stream).await
}

async fn acknowledged(mut stream: Stream, flow: &Flow, topic: &str) -> anyhow::Result<()> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; 4096];
    let mut batch = Vec::new();
    let mut outstanding = 0;
    let mut ids = (1..=u16::MAX).cycle();
    let mut open = true;
    while open || outstanding > 0 {
        if open && outstanding + BATCH <= WINDOW {
            open = flow.take(BATCH).await;
            if open {
                batch.clear();
                for id in ids.by_ref().take(usize::try_from(BATCH)?) {
                    mqtt::publish(&mut batch, topic, &PAYLOAD, Some(id));
                }
                stream.write_all(&batch).await?;
                stream.flush().await?;
                outstanding += BATCH;
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
    goodbye(stream).await
}

async fn goodbye(mut stream: Stream) -> anyhow::Result<()> {
    stream.write_all(&mqtt::DISCONNECT).await?;
    Ok(stream.shutdown().await?)
}

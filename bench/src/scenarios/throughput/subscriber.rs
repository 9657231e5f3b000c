//! A subscriber: counts, and acknowledges QoS 1, all acknowledgements of a read in one write.
use super::Flow;
use crate::client::Stream;
use crate::frames::Frames;
use crate::mqtt;
use anyhow::ensure;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Receives until it is aborted.
pub async fn run(mut stream: Stream, flow: Arc<Flow>, index: usize) -> anyhow::Result<()> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; 32 * 1024];
    let mut acknowledgements = Vec::new();
    loop {
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "the server has closed the connection");
        let mut count = 0;
        acknowledgements.clear();
        frames.feed(buffer.get(..length).unwrap_or_default(), |packet| {
            if packet.kind() == mqtt::PUBLISH {
                count += 1;
                if let Some(id) = packet.packet_id() {
                    mqtt::acknowledge(&mut acknowledgements, id);
                }
            }
        })?;
        flow.arrived(index, count);
        if !acknowledgements.is_empty() {
            stream.write_all(&acknowledgements).await?;
            stream.flush().await?;
        }
    }
}

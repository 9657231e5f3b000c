//! A subscriber: counts, and acknowledges QoS 1, all acknowledgements of a read in one write.
use super::Flow;
use crate::client::{Stream, goodbye};
use crate::frames::Frames;
use crate::mqtt;
use anyhow::ensure;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Receives until the flow has finished. `expected`: bytes of topic and payload of every message.
pub async fn run(mut stream: Stream, flow: Arc<Flow>, index: usize, expected: usize) -> anyhow::Result<()> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; 32 * 1024];
    let mut acknowledgements = Vec::new();
    let mut finished = pin!(flow.finished());
    loop {
        let length = tokio::select! {
            biased;
            length = stream.read(&mut buffer) => length?,
            () = &mut finished => break,
        };
        ensure!(length > 0, "the server has closed the connection");
        let (mut count, mut wrong) = (0, 0);
        acknowledgements.clear();
        frames.feed(buffer.get(..length).unwrap_or_default(), |packet| {
            if packet.kind() == mqtt::PUBLISH {
                let id = packet.packet_id();
                let around = 2 + id.map_or(0, |_| 2);
                count += 1;
                wrong += u64::from(packet.body.len() != around + expected);
                if let Some(id) = id {
                    mqtt::acknowledge(&mut acknowledgements, id);
                }
            }
        })?;
        ensure!(wrong == 0, "{wrong} messages came with a length that nobody published");
        flow.arrived(index, count);
        if !acknowledgements.is_empty() {
            stream.write_all(&acknowledgements).await?;
            stream.flush().await?;
        }
    }
    goodbye(stream).await;
    Ok(())
}

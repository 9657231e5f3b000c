//! A connection that publishes, receives, or both.
use super::answers::Answers;
use super::publishing::Publishing;
use super::receiving::Receiving;
use crate::client::{Stream, goodbye};
use crate::frames::Frames;
use anyhow::ensure;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

const BUFFER: usize = 64 * 1024;

/// One device at work.
pub struct Participant {
    pub stream: Stream,
    pub publishing: Option<Publishing>,
    pub receiving: Option<Receiving>,
}

impl Participant {
    /// A receiver works until its flow has finished, a mere publisher until all is published and acknowledged.
    pub async fn run(mut self) -> anyhow::Result<()> {
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
                    answers.clear();
                    let (mut length, mut read) = (Some(length?), 0);
                    // What has come already is answered together.
                    while let Some(more) = length {
                        ensure!(more > 0, "the server has closed the connection");
                        let bytes = buffer.get(..more).unwrap_or_default();
                        answers.take(&mut frames, bytes, self.receiving.as_mut())?;
                        read += more;
                        length = if read < BUFFER { read_now(&mut self.stream, &mut buffer).await? } else { None };
                    }
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
                    if let Some(publishing) = self.publishing.as_mut().filter(|_| due) {
                        self.stream.write_all(publishing.messages()).await?;
                        self.stream.flush().await?;
                    }
                }
                () = &mut finished => break,
            }
        }
        goodbye(self.stream).await;
        Ok(())
    }
}

/// Reads what has come already. `None`: nothing.
async fn read_now(stream: &mut Stream, buffer: &mut [u8]) -> std::io::Result<Option<usize>> {
    poll_fn(|context| {
        let mut buffer = ReadBuf::new(buffer);
        Poll::Ready(match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(None),
            Poll::Ready(read) => read.map(|()| Some(buffer.filled().len())),
        })
    })
    .await
}

/// Waits for the next messages; forever if there is nothing to publish or no room for it. False: it is over.
async fn next(publishing: Option<&mut Publishing>) -> bool {
    match publishing {
        Some(publishing) if publishing.may_publish() => publishing.wait().await,
        _ => pending().await,
    }
}

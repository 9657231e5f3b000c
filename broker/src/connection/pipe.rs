//! The encrypted stream with one buffer each way: many packets per read, all packets of a wake-up per write.
use super::codec::Outbound;
use bytes::{Buf, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

/// An idle connection waits with a buffer of this size; it grows while reads fill it and shrinks again.
const READ: usize = 1024;
/// The buffer of a connection that is busy.
const BUSY: usize = 64 * 1024;
/// How often a stuck write looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(100);
/// What a client may go on sending after the last word.
const MOST_DROPPED: usize = 1024 * 1024;
/// The time for a last word and for the closing of TLS.
const FAREWELL: Duration = Duration::from_secs(1);

/// What MQTT runs over: TLS, and whatever else carries bytes both ways.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream for S {}

pub(super) struct Pipe<S> {
    stream: S,
    buffer: BytesMut,
    /// What a read may take; grows while reads fill it.
    appetite: usize,
    /// A client that takes nothing for this long is gone.
    write_deadline: Duration,
}

impl<S: ByteStream> Pipe<S> {
    pub(super) fn new(stream: S, write_deadline: Duration) -> Self {
        Self { stream, buffer: BytesMut::new(), appetite: READ, write_deadline }
    }

    /// What came and was not consumed.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.buffer.advance(length.min(self.buffer.len()));
    }

    /// Reads what there is; 0 at the end of the stream. Cancel-safe.
    pub(super) async fn receive(&mut self) -> io::Result<usize> {
        if self.buffer.is_empty() && self.buffer.capacity() > self.appetite {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(self.appetite);
        let read = self.stream.read_buf(&mut self.buffer).await?;
        if read >= self.appetite {
            self.appetite = (self.appetite * 4).min(BUSY);
        } else if read < self.appetite / 8 {
            self.appetite = (self.appetite / 2).max(READ);
        }
        Ok(read)
    }

    /// Writes all of `out`. Gives up when the client takes nothing for too long, or when `unwanted` says so;
    /// `out` then has what was not written.
    pub(super) async fn send(&mut self, out: &mut Outbound, unwanted: impl Fn() -> bool) -> io::Result<()> {
        let mut written = 0;
        let result = self.write(out.bytes(), &mut written, unwanted).await;
        match result {
            Ok(()) => out.clear(),
            Err(_) => out.written(written),
        }
        result
    }

    async fn write(
        &mut self,
        bytes: &[u8],
        written: &mut usize,
        unwanted: impl Fn() -> bool,
    ) -> io::Result<()> {
        let mut stuck_since = None;
        loop {
            let rest = bytes.get(*written..).unwrap_or_default();
            let step = async {
                match rest.is_empty() {
                    true => self.stream.flush().await.map(|()| None),
                    false => self.stream.write(rest).await.map(Some),
                }
            };
            tokio::select! {
                biased;
                step = step => match step? {
                    None => return Ok(()),
                    Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Some(taken) => {
                        *written += taken;
                        stuck_since = None;
                    }
                },
                () = sleep(GLANCE) => {
                    let since = *stuck_since.get_or_insert_with(Instant::now);
                    if unwanted() || since.elapsed() >= self.write_deadline {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no data"));
                    }
                }
            }
        }
    }

    /// A last word: it may get lost.
    pub(super) async fn send_last(&mut self, out: &mut Outbound) {
        let _ = timeout(FAREWELL, async {
            self.stream.write_all(out.bytes()).await?;
            self.stream.flush().await
        })
        .await;
        out.clear();
    }

    /// Closes TLS and TCP. What the client is still sending is read and dropped until it has closed, too: bytes that nobody
    /// reads would reset the connection, and with it what the client was told last.
    pub(super) async fn close(&mut self) {
        let _ = timeout(FAREWELL, async {
            self.stream.shutdown().await?;
            self.buffer = BytesMut::with_capacity(READ);
            let mut dropped = 0;
            while dropped < MOST_DROPPED {
                self.buffer.clear();
                match self.stream.read_buf(&mut self.buffer).await? {
                    0 => break,
                    read => dropped += read,
                }
            }
            io::Result::Ok(())
        })
        .await;
    }
}

//! The encrypted stream with one buffer each way: many packets per read, all packets of a wake-up per write. Who waits has
//! neither.
use super::codec::Outbound;
use crate::tls::TlsStream;
use crate::websocket::WebSocket;
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

/// Bytes that a stream without a buffer of its own is asked for.
const READ: usize = 1024;
/// What is taken at once from a client that goes on sending.
const MOST_READ: usize = 64 * 1024;
/// How often a stuck write looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(100);
/// What a client may go on sending after the last word.
const MOST_DROPPED: usize = 1024 * 1024;
/// The time for a last word and for the closing of TLS.
const FAREWELL: Duration = Duration::from_secs(1);

/// What MQTT runs over: TLS, and whatever else carries bytes both ways.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin {
    /// Appends some of what has come; 0 at the end of the stream.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>>
    where
        Self: Sized,
    {
        buffer.reserve(READ);
        // One that is not ready has read nothing.
        pin!(self.read_buf(buffer)).poll(cx)
    }
}

impl ByteStream for TlsStream {
    /// From where it was decrypted: nothing is held for what has not come.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let some = ready!(Pin::new(&mut *self).poll_fill_buf(cx))?;
        let length = some.len();
        if !buffer.is_empty() && buffer.capacity() - buffer.len() < length {
            // One record after the other: a large packet, or many. Room for all of it at once is not copied again and again.
            buffer.reserve(MOST_READ);
        }
        buffer.extend_from_slice(some);
        Pin::new(self).consume(length);
        Poll::Ready(Ok(length))
    }
}

impl ByteStream for WebSocket<TlsStream> {}

#[cfg(any(test, feature = "fuzzing"))]
impl ByteStream for tokio::io::DuplexStream {}

pub(super) struct Pipe<S> {
    stream: S,
    buffer: BytesMut,
    /// What a read has found behind the last bytes.
    broken: Option<io::Error>,
    /// A client that takes nothing for this long is gone.
    write_deadline: Duration,
}

impl<S: ByteStream> Pipe<S> {
    pub(super) fn new(stream: S, write_deadline: Duration) -> Self {
        Self { stream, buffer: BytesMut::new(), broken: None, write_deadline }
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
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let mut read = 0;
        while read < MOST_READ {
            match self.stream.poll_some(cx, &mut self.buffer) {
                // The end is found again by the next read.
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(length)) => read += length,
                Poll::Ready(Err(error)) if read == 0 => return Poll::Ready(Err(error)),
                Poll::Ready(Err(error)) => {
                    self.broken = Some(error);
                    break;
                }
                Poll::Pending if read == 0 => {
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(read))
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

//! A socket under TLS that sends what belongs together in one go: the session ticket, with which a handshake ends, leaves
//! with the first answer, CONNACK, instead of in a packet of its own.
use bytes::{Buf, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes held back at most; more goes out at once.
const MOST: usize = 16 * 1024;

/// A byte stream that holds back what is written while the handshake lasts, until the other side is waited for: what was
/// held then goes out, so that both never wait for each other. After [`begun`](Self::begun) nothing new is held back, and
/// what still is leaves with the next write or flush.
#[derive(Debug)]
pub struct Together<S> {
    stream: S,
    held: BytesMut,
    begun: bool,
}

impl<S> Together<S> {
    /// Around a stream on which a handshake begins.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, held: BytesMut::new(), begun: false }
    }
    /// The handshake is over.
    pub(crate) fn begun(&mut self) {
        self.begun = true;
    }
}

impl<S: AsyncWrite + Unpin> Together<S> {
    /// Writes out what is held back.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            self.take(written)?;
        }
        self.held = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// So many of the bytes held back are written.
    fn take(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.held.advance(written.min(self.held.len()));
        Ok(())
    }

    fn holds_more(&self, length: usize) -> bool {
        !self.begun && self.held.len() + length <= MOST
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Together<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_pending() && !this.held.is_empty() {
            // If it does not fit now, the task is woken when more does, and reads again.
            if let Poll::Ready(Err(error)) = this.poll_release(cx) {
                return Poll::Ready(Err(error));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = slices.iter().map(|slice| slice.len()).sum();
        if this.holds_more(length) {
            slices.iter().for_each(|slice| this.held.extend_from_slice(slice));
            return Poll::Ready(Ok(length));
        }
        while !this.held.is_empty() {
            let held = this.held.len();
            let all: Vec<IoSlice<'_>> =
                std::iter::once(IoSlice::new(&this.held)).chain(slices.iter().copied()).collect();
            let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, &all))?;
            this.take(written)?;
            if written > held {
                this.held = BytesMut::new();
                return Poll::Ready(Ok(written - held));
            }
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.begun {
            ready!(this.poll_release(cx))?;
            return Pin::new(&mut this.stream).poll_flush(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_release(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// What is there without waiting.
    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_a_handshake_ends_with_leaves_with_the_first_answer() {
        let (near, mut far) = duplex(1024);
        let (mut near, mut got) = (Together::new(near), [0; 32]);
        now(near.write_all(b"ticket,")).unwrap().unwrap();
        now(near.flush()).unwrap().unwrap();
        near.begun();
        assert!(now(far.read(&mut got)).is_none());
        now(near.write_all(b"answer")).unwrap().unwrap();
        assert_eq!(now(far.read(&mut got)).unwrap().unwrap(), 13);
        assert_eq!(&got[..13], b"ticket,answer");
        now(near.write_all(b"next")).unwrap().unwrap();
        assert_eq!(now(far.read(&mut got)).unwrap().unwrap(), 4);
    }

    #[test]
    fn a_flush_after_the_handshake_lets_go() {
        let (near, mut far) = duplex(1024);
        let (mut near, mut got) = (Together::new(near), [0; 32]);
        now(near.write_all(b"ticket")).unwrap().unwrap();
        near.begun();
        now(near.flush()).unwrap().unwrap();
        assert_eq!(now(far.read(&mut got)).unwrap().unwrap(), 6);
    }

    #[test]
    fn nothing_is_held_back_while_the_other_side_is_waited_for() {
        let (near, mut far) = duplex(1024);
        let (mut near, mut got) = (Together::new(near), [0; 32]);
        for word in [b"hello", b"again"] {
            now(near.write_all(word)).unwrap().unwrap();
            assert!(now(near.read(&mut got)).is_none());
            assert_eq!(now(far.read(&mut got)).unwrap().unwrap(), 5);
            assert_eq!(&got[..5], word);
        }
    }

    #[test]
    fn more_than_may_be_held_back_goes_out_at_once() {
        let (near, mut far) = duplex(2 * MOST);
        let (mut near, long) = (Together::new(near), vec![7; MOST + 1]);
        now(near.write_all(&long)).unwrap().unwrap();
        let mut got = vec![0; MOST + 1];
        now(far.read_exact(&mut got)).unwrap().unwrap();
        assert_eq!(got, long);
    }

    #[tokio::test]
    async fn all_of_it_goes_out_in_order_however_little_the_stream_takes() {
        for room in 1..12 {
            let (near, mut far) = duplex(room);
            let mut near = Together::new(near);
            near.write_all(b"abcdef").await.unwrap();
            near.begun();
            let writing = tokio::spawn(async move {
                near.write_all(b"ghi").await.unwrap();
                near.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            writing.await.unwrap();
            assert_eq!(got, b"abcdefghi", "room for {room}");
        }
    }
}

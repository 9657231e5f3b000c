//! MQTT over WebSocket, from the first frame on (RFC 6455; MQTT 5 section 6): the frames of a stream as the bytes that they
//! carry. Opening one is HTTP's.
mod decoder;

pub(crate) use decoder::Violation;

use bytes::Bytes;
use decoder::{Decoder, End};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The server's side of a WebSocket, as a stream of the bytes in its binary frames.
///
/// Reads are decoded where they lie and writes go out behind a header, so there is no buffer for data. Reading ends when the client
/// closes, and fails with a [`Violation`] when it breaks the protocol. Pings are answered by whoever reads or writes. Shutting
/// down is the closing handshake; what is read after that is no frames any more, but whatever still comes.
pub(crate) struct WebSocket<S> {
    stream: S,
    /// What came already, behind the HTTP request.
    early: Bytes,
    decoder: Decoder,
    /// Headers and control frames on their way out.
    out: Vec<u8>,
    /// How many bytes of `out` are written.
    written: usize,
    /// Something written may not have been flushed.
    unflushed: bool,
    /// Bytes of the data frame on its way that are still to come from the writer.
    left: usize,
    closing: Closing,
}

/// How far the closing handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    NotYet,
    /// Our Close is on its way.
    Saying,
    /// The client's is awaited.
    Listening,
    /// What is left to do and to read is the stream's.
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// On a stream whose opening handshake is done; `early` came behind it.
    pub(crate) fn new(stream: S, early: Bytes) -> Self {
        Self {
            stream,
            early,
            decoder: Decoder::default(),
            out: Vec::new(),
            written: 0,
            unflushed: false,
            left: 0,
            closing: Closing::NotYet,
        }
    }

    fn begin_frame(&mut self, opcode: OpCode, length: usize) {
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        // Writing to a vector does not fail.
        let _ = header.format(length as u64, &mut self.out);
    }

    fn control_frame(&mut self, control: Control, payload: &[u8]) {
        self.begin_frame(OpCode::Control(control), payload.len());
        self.out.extend_from_slice(payload);
    }

    /// Puts the answer to a ping where it goes out next, unless an earlier one is still there.
    fn answer_ping(&mut self) {
        let free = self.left == 0 && self.out.is_empty();
        if free && let Some(payload) = self.decoder.take_ping() {
            self.control_frame(Control::Pong, &payload);
        }
    }

    /// Writes what is on its way out beside data.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answer_ping();
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.has_written(taken);
        }
        Poll::Ready(Ok(()))
    }

    /// So many bytes went out; returns how many of them were data.
    fn has_written(&mut self, taken: usize) -> usize {
        let of_out = taken.min(self.out.len() - self.written);
        self.written += of_out;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        let data = taken - of_out;
        self.left -= data;
        data
    }

    /// Answers a ping while nobody writes. A stream that fails is seen by who reads it.
    fn answer_while_reading(&mut self, cx: &mut Context<'_>) {
        let out = matches!(self.poll_out(cx), Poll::Ready(Ok(())));
        if out && self.unflushed && Pin::new(&mut self.stream).poll_flush(cx).is_ready() {
            self.unflushed = false;
        }
    }

    /// What we say when we close: what the client said, or what it did wrong.
    fn say_close(&mut self) {
        let code = match self.decoder.end() {
            Some(End::Closed(code)) => *code,
            Some(End::Violated(violation)) => violation.code,
            None => CloseCode::Normal,
        };
        self.control_frame(Control::Close, &u16::from(code).to_be_bytes());
    }

    /// Drops what comes until the client has said Close, too, or the stream ends. Who broke the protocol is not waited for: what
    /// it says cannot be told apart any more.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut dropped = [0; 512];
        while self.decoder.end().is_none() {
            let mut buffer = ReadBuf::new(&mut dropped);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            self.decoder.decode(buffer.filled_mut());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing == Closing::Done {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let start = buffer.filled().len();
        while buffer.remaining() > 0 {
            this.answer_while_reading(cx);
            match this.decoder.end() {
                Some(End::Closed(_)) => break,
                Some(End::Violated(violation)) => return Poll::Ready(Err(violation.clone().into())),
                None => {}
            }
            if this.early.is_empty() {
                ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
                if buffer.filled().len() == start {
                    break;
                }
            } else {
                let length = this.early.len().min(buffer.remaining());
                buffer.put_slice(&this.early.split_to(length));
            }
            let kept = this.decoder.decode(buffer.filled_mut().get_mut(start..).unwrap_or_default());
            buffer.set_filled(start + kept);
            if kept > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    /// A frame is as long as what is first offered for it.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.left == 0 {
            this.answer_ping();
            this.begin_frame(OpCode::Data(Data::Binary), bytes.len());
            this.left = bytes.len();
        }
        loop {
            let data = bytes.get(..this.left).unwrap_or(bytes);
            let stream = Pin::new(&mut this.stream);
            let taken = match this.out.get(this.written..) {
                None | Some([]) => ready!(stream.poll_write(cx, data))?,
                Some(out) => {
                    ready!(stream.poll_write_vectored(cx, &[IoSlice::new(out), IoSlice::new(data)]))?
                }
            };
            if taken == 0 {
                return Poll::Ready(Ok(0));
            }
            this.unflushed = true;
            let data = this.has_written(taken);
            if data > 0 {
                return Poll::Ready(Ok(data));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Closes the WebSocket and then the stream. The caller bounds the time.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let this = &mut *self;
            this.closing = match this.closing {
                // A data frame that was cut off cannot be followed by another.
                Closing::NotYet if this.left > 0 => Closing::Done,
                Closing::NotYet => {
                    this.say_close();
                    Closing::Saying
                }
                Closing::Saying => {
                    ready!(self.as_mut().poll_flush(cx))?;
                    self.closing = Closing::Listening;
                    continue;
                }
                Closing::Listening => {
                    ready!(this.poll_farewell(cx))?;
                    Closing::Done
                }
                Closing::Done => return Pin::new(&mut this.stream).poll_shutdown(cx),
            };
        }
    }
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}

/// Decodes anything, in two reads: what must hold for every input whatsoever.
#[cfg(any(test, feature = "fuzzing"))]
pub fn exercise(input: &[u8]) {
    let mut whole = input.to_vec();
    let mut decoder = Decoder::default();
    let kept = decoder.decode(&mut whole);
    assert!(kept <= input.len());
    let mut again = Decoder::default();
    let mut halves = Vec::new();
    let (first, second) = input.split_at(input.len() / 2);
    for half in [first, second] {
        let mut half = half.to_vec();
        let kept = again.decode(&mut half);
        halves.extend(half.into_iter().take(kept));
    }
    assert_eq!(whole.get(..kept), Some(&halves[..]));
    assert_eq!(decoder.end(), again.end());
    assert_eq!(decoder.take_ping(), again.take_ping());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tungstenite::Message;
    use tungstenite::protocol::{CloseFrame, Role, WebSocket as Client};

    /// What another's WebSocket sends and receives, without a network.
    #[derive(Default)]
    struct Recorded {
        received: io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl io::Read for Recorded {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            io::Read::read(&mut self.received, into)
        }
    }

    impl io::Write for Recorded {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            io::Write::write(&mut self.sent, from)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sent_by_client(messages: &[Message]) -> Vec<u8> {
        let mut client = Client::from_raw_socket(Recorded::default(), Role::Client, None);
        for message in messages {
            client.send(message.clone()).unwrap();
        }
        client.get_ref().sent.clone()
    }

    fn read_by_client(bytes: Vec<u8>) -> Vec<Message> {
        let stream = Recorded { received: io::Cursor::new(bytes), sent: Vec::new() };
        let mut client = Client::from_raw_socket(stream, Role::Client, None);
        std::iter::from_fn(|| client.read().ok()).collect()
    }

    fn binary(payload: &[u8]) -> Message {
        Message::binary(payload.to_vec())
    }

    fn pair(early: &[u8]) -> (WebSocket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        (WebSocket::new(ours, Bytes::copy_from_slice(early)), theirs)
    }

    /// All that the other side reads until the end, after we have written this and shut down.
    async fn written(mut socket: WebSocket<DuplexStream>, mut theirs: DuplexStream, bytes: &[u8]) -> Vec<u8> {
        let close = sent_by_client(&[Message::Close(None)]);
        let ours = async {
            socket.write_all(bytes).await.unwrap();
            socket.flush().await.unwrap();
            socket.shutdown().await.unwrap();
        };
        let theirs = async {
            let mut read = Vec::new();
            theirs.write_all(&close).await.unwrap();
            theirs.read_to_end(&mut read).await.unwrap();
            read
        };
        tokio::join!(ours, theirs).1
    }

    #[tokio::test]
    async fn what_a_client_sends_is_read_beginning_with_what_came_early() {
        let bytes =
            sent_by_client(&[binary(b"early "), binary(b"and "), binary(b"late"), Message::Close(None)]);
        let (early, late) = bytes.split_at(9);
        let (mut socket, mut theirs) = pair(early);
        let mut read = Vec::new();
        let (wrote, ended) = tokio::join!(theirs.write_all(late), socket.read_to_end(&mut read));
        wrote.unwrap();
        ended.unwrap();
        assert_eq!(read, b"early and late");
    }

    #[tokio::test]
    async fn what_is_written_comes_in_binary_frames_and_closing_is_said_and_heard() {
        let (socket, theirs) = pair(&[]);
        let large = vec![7; 100_000];
        let messages = read_by_client(written(socket, theirs, &large).await);
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        assert_eq!(messages, [binary(&large), Message::Close(Some(close))]);
    }

    #[tokio::test]
    async fn a_ping_is_answered_while_nothing_is_written() {
        let (mut socket, mut theirs) = pair(&[]);
        let ping = sent_by_client(&[Message::Ping("are you there".into())]);
        let mut pong = [0; 15];
        let mut buffer = [0; 16];
        tokio::select! {
            read = socket.read(&mut buffer) => panic!("{read:?}"),
            answered = async {
                theirs.write_all(&ping).await.unwrap();
                theirs.read_exact(&mut pong).await
            } => { answered.unwrap(); }
        }
        assert_eq!(read_by_client(pong.to_vec()), [Message::Pong("are you there".into())]);
    }

    #[tokio::test]
    async fn a_text_frame_is_a_violation_and_closed_with_1003() {
        let (mut socket, mut theirs) = pair(&sent_by_client(&[binary(b"ok"), Message::text("no")]));
        let mut read = Vec::new();
        let error = socket.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(read, b"ok");
        assert!(error.get_ref().unwrap().is::<Violation>(), "{error}");
        let theirs = async {
            let mut read = [0; 4];
            theirs.read_exact(&mut read).await.unwrap();
            drop(theirs);
            read.to_vec()
        };
        let (_, read) = tokio::join!(socket.shutdown(), theirs);
        let close = CloseFrame { code: CloseCode::Unsupported, reason: "".into() };
        assert_eq!(read_by_client(read), [Message::Close(Some(close))]);
    }

    #[tokio::test]
    async fn who_closes_hears_the_code_again() {
        let close = CloseFrame { code: CloseCode::Away, reason: "gone".into() };
        let (mut socket, mut theirs) = pair(&sent_by_client(&[Message::Close(Some(close))]));
        assert_eq!(socket.read(&mut [0; 9]).await.unwrap(), 0);
        socket.shutdown().await.unwrap();
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        let close = CloseFrame { code: CloseCode::Away, reason: "".into() };
        assert_eq!(read_by_client(read), [Message::Close(Some(close))]);
    }

    proptest! {
        #[test]
        fn no_input_panics_and_none_depends_on_how_it_is_read(
            input in proptest::collection::vec(any::<u8>(), 0..200),
            flip in (0_usize..100, any::<u8>()),
        ) {
            exercise(&input);
            let mut nearly = sent_by_client(&[
                binary(b"some"), Message::Ping("ping".into()), binary(&input), Message::Close(None),
            ]);
            let at = flip.0 % nearly.len();
            nearly[at] = flip.1;
            exercise(&nearly);
        }
    }
}

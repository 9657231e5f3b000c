//! From WebSocket frames to the bytes in them (RFC 6455 section 5). Nothing of a data frame is held: a frame may be as long
//! as it likes, and what is in it counts as on TCP.
use smallvec::SmallVec;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest header of a frame.
const HEADER: usize = 14;
/// The longest payload of a control frame.
const CONTROL: u64 = 125;

/// What is known of a client's frames so far.
#[derive(Default)]
pub(super) struct Decoder {
    /// The beginning of a header.
    header: SmallVec<[u8; HEADER]>,
    frame: Option<Frame>,
    /// A message of several frames has begun and not ended.
    unfinished: bool,
    /// Payload of a control frame so far.
    control: Vec<u8>,
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

/// The frame whose payload comes.
struct Frame {
    opcode: OpCode,
    mask: [u8; 4],
    /// Bytes that have not come.
    left: u64,
}

/// Nothing counts any more that comes later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The client said Close.
    Closed(CloseCode),
    /// The client broke the protocol.
    Violated(Violation),
}

/// What a client must not send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Violation {
    /// What the client is told.
    pub code: CloseCode,
    /// For a person; goes with "the client sent".
    pub message: &'static str,
}

impl Decoder {
    /// Takes what was read, and leaves what the data frames in it carry at its front: so many bytes.
    pub(super) fn decode(&mut self, read: &mut [u8]) -> usize {
        let (mut at, mut kept) = (0, 0);
        while at < read.len() && self.end.is_none() {
            let Some(frame) = &mut self.frame else {
                at += self.take_header(read.get(at..).unwrap_or_default());
                self.finish_frame();
                continue;
            };
            let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(read.len() - at);
            let part = at..at + length;
            let payload = read.get_mut(part.clone()).unwrap_or_default();
            unmask(payload, &mut frame.mask);
            frame.left -= length as u64;
            at += length;
            match frame.opcode {
                OpCode::Control(_) => self.control.extend_from_slice(payload),
                OpCode::Data(_) => {
                    read.copy_within(part, kept);
                    kept += length;
                }
            }
            self.finish_frame();
        }
        kept
    }

    /// How the client's frames ended, once they have.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The payload of a ping that is to be answered. Of several only the last is (RFC 6455 section 5.5.3).
    pub(super) fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// Takes bytes of a header, perhaps all that are missing.
    fn take_header(&mut self, rest: &[u8]) -> usize {
        let mut taken = 0;
        for byte in rest {
            self.header.push(*byte);
            taken += 1;
            if self.header.len() == header_length(&self.header) {
                match parse(&self.header) {
                    Ok(frame) => self.begin_frame(frame),
                    Err(violation) => self.end = Some(End::Violated(violation)),
                }
                self.header.clear();
                break;
            }
        }
        taken
    }

    fn begin_frame(&mut self, (header, length): (FrameHeader, u64)) {
        match self.check(&header, length) {
            Ok(mask) => {
                if let OpCode::Data(_) = header.opcode {
                    self.unfinished = !header.is_final;
                }
                self.frame = Some(Frame { opcode: header.opcode, mask, left: length });
            }
            Err(violation) => self.end = Some(End::Violated(violation)),
        }
    }

    fn check(&self, header: &FrameHeader, length: u64) -> Result<[u8; 4], Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::protocol(
                "a WebSocket frame with reserved bits; no extension was agreed on",
            ));
        }
        match header.opcode {
            OpCode::Control(_) if length > CONTROL => {
                return Err(Violation::protocol("a WebSocket control frame of more than 125 bytes"));
            }
            OpCode::Control(_) if !header.is_final => {
                return Err(Violation::protocol("a WebSocket control frame in fragments"));
            }
            OpCode::Data(Data::Text) => {
                let message = "a WebSocket text frame; MQTT goes in binary frames";
                return Err(Violation { code: CloseCode::Unsupported, message });
            }
            OpCode::Data(Data::Continue) if !self.unfinished => {
                return Err(Violation::protocol("a WebSocket continuation frame without a beginning"));
            }
            OpCode::Data(Data::Binary) if self.unfinished => {
                return Err(Violation::protocol("a new WebSocket message before the last one ended"));
            }
            _ if length > i64::MAX as u64 => {
                return Err(Violation::protocol("a WebSocket frame of an impossible length"));
            }
            _ => {}
        }
        header.mask.ok_or(Violation::protocol("a WebSocket frame that is not masked"))
    }

    /// Is the payload of the frame complete?
    fn finish_frame(&mut self) {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return };
        let OpCode::Control(control) = frame.opcode else { return };
        let payload = std::mem::take(&mut self.control);
        match control {
            Control::Ping => self.ping = Some(payload),
            Control::Close => self.end = Some(closed(&payload)),
            Control::Pong | Control::Reserved(_) => {}
        }
    }
}

impl Violation {
    fn protocol(message: &'static str) -> Self {
        Self { code: CloseCode::Protocol, message }
    }
}

/// The length of the header that begins so; at least two bytes tell it.
fn header_length(begun: &[u8]) -> usize {
    let Some(second) = begun.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

fn parse(header: &[u8]) -> Result<(FrameHeader, u64), Violation> {
    match FrameHeader::parse(&mut Cursor::new(header)) {
        Ok(Some(parsed)) => Ok(parsed),
        _ => Err(Violation::protocol("a WebSocket frame of an unknown kind")),
    }
}

/// The code and the reason of a Close frame; both may lack.
fn closed(payload: &[u8]) -> End {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => End::Closed(CloseCode::Normal),
            _ => End::Violated(Violation::protocol("a WebSocket Close frame with half a code")),
        };
    };
    let code = CloseCode::from(u16::from_be_bytes(*code));
    if !code.is_allowed() {
        return End::Violated(Violation::protocol(
            "a WebSocket Close frame with a code that must not be sent",
        ));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => End::Closed(code),
        Err(_) => End::Violated(Violation {
            code: CloseCode::Invalid,
            message: "a WebSocket Close frame with a reason that is not UTF-8",
        }),
    }
}

/// Masks or unmasks the next bytes of a payload; the mask then begins where the following ones do.
fn unmask(payload: &mut [u8], mask: &mut [u8; 4]) {
    for part in payload.chunks_mut(4) {
        for (byte, key) in part.iter_mut().zip(&*mask) {
            *byte ^= key;
        }
    }
    mask.rotate_left(payload.len() % 4);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tungstenite::protocol::frame::Frame as Sent;

    /// As a client sends it.
    fn frame(payload: &[u8], opcode: OpCode, is_final: bool) -> Vec<u8> {
        let mask = [7, 77, 177, 0];
        let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        let mut payload = payload.to_vec();
        unmask(&mut payload, &mut { mask });
        bytes.extend(payload);
        bytes
    }

    fn binary(payload: &[u8]) -> Vec<u8> {
        frame(payload, OpCode::Data(Data::Binary), true)
    }

    fn end_of(mut bytes: Vec<u8>) -> Option<End> {
        let mut decoder = Decoder::default();
        decoder.decode(&mut bytes);
        decoder.end().cloned()
    }

    #[test]
    fn what_comes_before_a_close_counts_and_what_comes_after_it_does_not() {
        let close = Sent::close(None);
        assert!(close.payload().is_empty());
        let close = frame(close.payload(), OpCode::Control(Control::Close), true);
        let mut bytes = [binary(b"before"), close, binary(b"after")].concat();
        let mut decoder = Decoder::default();
        let kept = decoder.decode(&mut bytes);
        assert_eq!(&bytes[..kept], b"before");
        assert_eq!(decoder.end(), Some(&End::Closed(CloseCode::Normal)));
        assert_eq!(decoder.decode(&mut binary(b"later")), 0);
    }

    #[test]
    fn a_ping_is_kept_for_its_answer_also_within_a_message_of_fragments() {
        let mut bytes = [
            frame(b"be", OpCode::Data(Data::Binary), false),
            frame(b"first", OpCode::Control(Control::Ping), true),
            frame(b"last", OpCode::Control(Control::Ping), true),
            frame(b"gun", OpCode::Data(Data::Continue), true),
        ]
        .concat();
        let mut decoder = Decoder::default();
        let kept = decoder.decode(&mut bytes);
        assert_eq!(&bytes[..kept], b"begun");
        assert_eq!(decoder.take_ping().as_deref(), Some(&b"last"[..]));
        assert_eq!(decoder.take_ping(), None);
    }

    #[test]
    fn each_violation_has_its_code() {
        let code = |bytes: Vec<u8>| match end_of(bytes) {
            Some(End::Violated(violation)) => u16::from(violation.code),
            other => panic!("{other:?}"),
        };
        let data = |kind, is_final| frame(b"x", OpCode::Data(kind), is_final);
        let close = |payload: &[u8]| frame(payload, OpCode::Control(Control::Close), true);
        assert_eq!(code(data(Data::Text, true)), 1003);
        assert_eq!(code(data(Data::Continue, true)), 1002);
        assert_eq!(code([data(Data::Binary, false), data(Data::Binary, true)].concat()), 1002);
        assert_eq!(code(data(Data::Reserved(3), true)), 1002);
        assert_eq!(code(frame(b"x", OpCode::Control(Control::Ping), false)), 1002);
        assert_eq!(code(frame(&[0; 126], OpCode::Control(Control::Ping), true)), 1002);
        assert_eq!(code(vec![0x82, 1, b'x']), 1002, "not masked");
        assert_eq!(code(vec![0xc2, 0x80, 0, 0, 0, 0]), 1002, "a reserved bit");
        assert_eq!(code([&[0x82, 0xff][..], &[0xff; 12]].concat()), 1002, "an impossible length");
        assert_eq!(code(close(&[3])), 1002);
        assert_eq!(code(close(&1005_u16.to_be_bytes())), 1002);
        assert_eq!(code(close(&[0x03, 0xe8, 0xff])), 1007);
        assert_eq!(end_of(close(&3000_u16.to_be_bytes())), Some(End::Closed(CloseCode::from(3000))));
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_into_frames_and_reads_it_stays_the_same(
            messages in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..4), 0..6),
            reads in proptest::collection::vec(1_usize..400, 1..20),
        ) {
            let mut bytes = Vec::new();
            for fragments in &messages {
                for (number, fragment) in fragments.iter().enumerate() {
                    let kind = if number == 0 { Data::Binary } else { Data::Continue };
                    bytes.extend(frame(fragment, OpCode::Data(kind), number + 1 == fragments.len()));
                    bytes.extend(frame(b"?", OpCode::Control(Control::Ping), true));
                }
            }
            let mut decoder = Decoder::default();
            let (mut decoded, mut rest) = (Vec::new(), &mut bytes[..]);
            for read in reads.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, later) = rest.split_at_mut((*read).min(rest.len()));
                let kept = decoder.decode(chunk);
                decoded.extend_from_slice(&chunk[..kept]);
                rest = later;
            }
            prop_assert_eq!(decoded, messages.concat().concat());
            prop_assert_eq!(decoder.end(), None);
        }
    }
}

//! Finding the next whole packet in a buffer (OASIS MQTT 5.0 section 2.1).
use super::Violation;
use mqtt_protocol_core::mqtt::packet::PacketType;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;

/// One whole packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub kind: PacketType,
    /// The low four bits of the first byte; valid for the kind.
    pub flags: u8,
    /// What follows the remaining length.
    pub body: &'a [u8],
    /// The remaining length took more bytes than it needs, which MQTT 5 does not allow.
    pub padded: bool,
}

/// Takes the first packet of the buffer: the packet and its length in bytes. `None`: it is not complete yet.
///
/// A packet above `limit` bytes is refused as soon as its length can be read.
pub(crate) fn next_frame(buffer: &[u8], limit: u32) -> Result<Option<(Frame<'_>, usize)>, Violation> {
    let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
    let (kind, flags) = (kind(first)?, first & 0x0f);
    check_flags(kind, flags)?;
    let Some((length, digits)) = remaining_length(rest)? else { return Ok(None) };
    let total = 1 + digits + length;
    if total > usize::try_from(limit).unwrap_or(usize::MAX) {
        let message = format!("a packet has {total} bytes, the limit is {limit}");
        return Err(Violation::new(DisconnectReasonCode::PacketTooLarge, message));
    }
    let padded = digits > 1 && rest.get(digits - 1) == Some(&0);
    Ok(buffer.get(1 + digits..total).map(|body| (Frame { kind, flags, body, padded }, total)))
}

fn kind(first: u8) -> Result<PacketType, Violation> {
    Ok(match first >> 4 {
        1 => PacketType::Connect,
        3 => PacketType::Publish,
        4 => PacketType::Puback,
        5 => PacketType::Pubrec,
        6 => PacketType::Pubrel,
        7 => PacketType::Pubcomp,
        8 => PacketType::Subscribe,
        10 => PacketType::Unsubscribe,
        12 => PacketType::Pingreq,
        14 => PacketType::Disconnect,
        15 => PacketType::Auth,
        2 | 9 | 11 | 13 => return Err(Violation::protocol("a packet that only servers may send")),
        _ => return Err(Violation::malformed("a packet of the reserved type 0")),
    })
}

fn check_flags(kind: PacketType, flags: u8) -> Result<(), Violation> {
    let valid = match kind {
        PacketType::Publish => flags & 0b0110 != 0b0110 && (flags & 0b0110 != 0 || flags & 0b1000 == 0),
        PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe => flags == 0b0010,
        _ => flags == 0,
    };
    if valid {
        Ok(())
    } else {
        Err(Violation::malformed(format!("{} with the invalid flags {flags:04b}", kind.as_str())))
    }
}

/// The remaining length and the bytes that it takes, at most four.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Violation> {
    let mut value = 0usize;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(Violation::malformed("a remaining length of more than four bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(bytes: &[u8]) -> DisconnectReasonCode {
        next_frame(bytes, 1000).unwrap_err().code
    }

    #[test]
    fn a_frame_is_taken_once_it_is_complete() {
        let bytes = [0x30, 0x04, 0, 1, b'a', b'x', 0xc0, 0x00];
        for end in 0..6 {
            assert_eq!(next_frame(&bytes[..end], 1000), Ok(None), "{end}");
        }
        let (frame, length) = next_frame(&bytes, 1000).unwrap().unwrap();
        assert_eq!((frame.kind, frame.flags, frame.body, length), (PacketType::Publish, 0, &bytes[2..6], 6));
        let (frame, length) = next_frame(&bytes[6..], 1000).unwrap().unwrap();
        assert_eq!((frame.kind, length), (PacketType::Pingreq, 2));
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_before_it_has_arrived() {
        assert_eq!(code(&[0x30, 0xff, 0xff, 0x03]), DisconnectReasonCode::PacketTooLarge);
        assert_eq!(next_frame(&[0x30, 0xff, 0xff], 1000), Ok(None));
    }

    #[test]
    fn invalid_first_bytes_are_refused_at_once() {
        use DisconnectReasonCode::{MalformedPacket, ProtocolError};
        for (first, expected) in [
            (0x00, MalformedPacket), // reserved
            (0x20, ProtocolError),   // CONNACK
            (0x36, MalformedPacket), // QoS 3
            (0x38, MalformedPacket), // DUP with QoS 0
            (0x60, MalformedPacket), // PUBREL without its flag
            (0x80, MalformedPacket), // SUBSCRIBE without its flag
            (0xc1, MalformedPacket), // PINGREQ with a flag
        ] {
            assert_eq!(code(&[first]), expected, "{first:#x}");
        }
    }

    #[test]
    fn a_length_in_more_bytes_than_it_needs_is_noticed() {
        let padded = |bytes| next_frame(bytes, 1000).unwrap().unwrap().0.padded;
        assert!(padded(&[0xc0, 0x80, 0x00]));
        assert!(!padded(&[0xc0, 0x00]));
        assert!(!padded(&[&[0x30, 0x80, 0x01][..], &[0; 128]].concat()));
    }

    #[test]
    fn a_fifth_length_byte_is_refused() {
        assert_eq!(code(&[0x30, 0x80, 0x80, 0x80, 0x80]), DisconnectReasonCode::MalformedPacket);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = next_frame(&bytes, 64);
        }
    }
}

//! Splitting a decrypted stream into MQTT packets: as little work per packet as possible.
use anyhow::ensure;

/// Nothing that is measured here sends larger packets.
const MAX_PACKET: usize = 1 << 20;

/// Splits a stream into packets; keeps what is not yet complete.
#[derive(Debug, Default)]
pub struct Frames {
    pending: Vec<u8>,
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Type and flags.
    pub first: u8,
    /// What follows the remaining length.
    pub body: &'a [u8],
}

impl Frames {
    /// Takes the next bytes of the stream and hands out every packet that is complete by now.
    ///
    /// # Errors
    /// A remaining length that is not MQTT, or a packet above 1 MiB.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Packet<'_>)) -> anyhow::Result<()> {
        if self.pending.is_empty() {
            let rest = split(bytes, &mut each)?;
            self.pending.extend_from_slice(rest);
        } else {
            self.pending.extend_from_slice(bytes);
            let rest = split(&self.pending, &mut each)?.len();
            self.pending.drain(..self.pending.len() - rest);
        }
        Ok(())
    }
}

impl Packet<'_> {
    /// The packet type, 1 (CONNECT) to 15 (AUTH).
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The quality of service of a PUBLISH.
    pub fn qos(&self) -> u8 {
        self.first >> 1 & 0b11
    }

    /// The packet id of an acknowledgement, or of a PUBLISH above QoS 0.
    pub fn packet_id(&self) -> Option<u16> {
        let at = match self.kind() {
            crate::mqtt::PUBLISH if self.first & 0b110 == 0 => return None,
            crate::mqtt::PUBLISH => 2 + usize::from(be16(self.body)?),
            _ => 0,
        };
        be16(self.body.get(at..)?)
    }

    /// Topic and payload of a PUBLISH.
    pub fn message(&self) -> Option<(&[u8], &[u8])> {
        if self.kind() != crate::mqtt::PUBLISH {
            return None;
        }
        let (topic, rest) = self.body.get(2..)?.split_at_checked(usize::from(be16(self.body)?))?;
        let id = if self.packet_id().is_some() { 2 } else { 0 };
        Some((topic, rest.get(id..)?))
    }
}

/// Hands out the complete packets; gives what is left.
fn split<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(Packet<'_>)) -> anyhow::Result<&'a [u8]> {
    while let Some((first, length, rest)) = header(bytes)? {
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        each(Packet { first, body });
        bytes = rest;
    }
    Ok(bytes)
}

/// First byte, remaining length, and what follows; `None` when it is not all there.
fn header(bytes: &[u8]) -> anyhow::Result<Option<(u8, usize, &[u8])>> {
    let Some((&first, mut rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let Some((&digit, after)) = rest.split_first() else { return Ok(None) };
        rest = after;
        length |= usize::from(digit & 0x7f) << shift;
        if digit & 0x80 == 0 {
            ensure!(length <= MAX_PACKET, "a packet of {length} bytes");
            return Ok(Some((first, length, rest)));
        }
    }
    anyhow::bail!("a remaining length of more than four bytes")
}

fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt;

    fn stream() -> Vec<u8> {
        let mut bytes = vec![0x20, 2, 0, 0, 0x90, 3, 0, 1, 1];
        mqtt::publish(&mut bytes, "a/b", &[7; 200], None);
        mqtt::publish(&mut bytes, "a/b", b"x", Some((1, 0x1234)));
        mqtt::answer(&mut bytes, mqtt::PUBACK, 9);
        bytes
    }

    fn seen(chunks: &[&[u8]]) -> Vec<(u8, usize, Option<u16>)> {
        let mut frames = Frames::default();
        let mut all = Vec::new();
        for chunk in chunks {
            frames
                .feed(chunk, |packet| all.push((packet.kind(), packet.body.len(), packet.packet_id())))
                .unwrap();
        }
        assert!(frames.pending.is_empty());
        all
    }

    #[test]
    fn packets_are_counted_with_their_ids() {
        let expected =
            vec![(2, 2, Some(0)), (9, 3, Some(1)), (3, 205, None), (3, 8, Some(0x1234)), (4, 2, Some(9))];
        assert_eq!(seen(&[&stream()]), expected);
    }

    #[test]
    fn a_message_has_a_topic_and_a_payload() {
        let mut messages = Vec::new();
        Frames::default()
            .feed(&stream(), |packet| {
                messages
                    .extend(packet.message().map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
            })
            .unwrap();
        assert_eq!(messages, [(b"a/b".to_vec(), vec![7; 200]), (b"a/b".to_vec(), b"x".to_vec())]);
    }

    #[test]
    fn where_the_stream_is_cut_does_not_matter() {
        let bytes = stream();
        let whole = seen(&[&bytes]);
        for at in 0..=bytes.len() {
            assert_eq!(seen(&[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
        }
        assert_eq!(seen(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn a_stream_that_is_not_mqtt_is_an_error() {
        let mut frames = Frames::default();
        assert!(frames.feed(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01], |_| ()).is_err());
        assert!(Frames::default().feed(&[0x30, 0xff, 0xff, 0xff, 0x7f], |_| ()).is_err());
    }
}

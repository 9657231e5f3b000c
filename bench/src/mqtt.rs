//! The few MQTT 3.1.1 packets that the load consists of, encoded.

/// Packet type of CONNACK.
pub const CONNACK: u8 = 2;
/// The return code of a CONNACK that lets the client in.
pub const ACCEPTED: u8 = 0;
/// The one that says that the client is not authorized.
pub const NOT_AUTHORIZED: u8 = 5;
/// Packet type of PUBLISH.
pub const PUBLISH: u8 = 3;
/// Packet type of PUBACK.
pub const PUBACK: u8 = 4;
/// Packet type of SUBACK.
pub const SUBACK: u8 = 9;
/// DISCONNECT, whole.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
/// An accepting CONNACK, whole.
pub const CONNECTED: [u8; 4] = [0x20, 2, 0, 0];

/// Keep alive in seconds: longer than any round.
const KEEP_ALIVE: u16 = 600;

/// CONNECT: clean session, no will.
pub fn connect(client_id: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b10];
    body.extend(KEEP_ALIVE.to_be_bytes());
    text(&mut body, client_id);
    packet(0x10, &body)
}

/// SUBSCRIBE, packet id 1.
pub fn subscribe(filters: &[&str], qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        text(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// Appends a PUBLISH: QoS 1 with a packet id, else QoS 0.
pub fn publish(to: &mut Vec<u8>, topic: &str, payload: &[u8], id: Option<u16>) {
    to.push(if id.is_some() { 0x32 } else { 0x30 });
    remaining_length(to, 2 + topic.len() + id.map_or(0, |_| 2) + payload.len());
    text(to, topic);
    to.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    to.extend_from_slice(payload);
}

/// Appends a PUBACK.
pub fn acknowledge(to: &mut Vec<u8>, id: u16) {
    let [high, low] = id.to_be_bytes();
    to.extend_from_slice(&[0x40, 2, high, low]);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    remaining_length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

/// A string with its length before it; cut at 65,535 bytes.
fn text(to: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    to.extend(length.to_be_bytes());
    to.extend(text.bytes().take(usize::from(length)));
}

fn remaining_length(to: &mut Vec<u8>, mut length: usize) {
    loop {
        let digit = (length & 0x7f) as u8;
        length >>= 7;
        to.push(if length == 0 { digit } else { digit | 0x80 });
        if length == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_encoded_as_the_specification_says() {
        assert_eq!(connect("ab"), [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 2, 0x58, 0, 2, b'a', b'b']);
        assert_eq!(subscribe(&["a/#", "b"], 1), [0x82, 12, 0, 1, 0, 3, b'a', b'/', b'#', 1, 0, 1, b'b', 1]);
        let mut bytes = Vec::new();
        publish(&mut bytes, "t", b"xy", Some(258));
        assert_eq!(bytes, [0x32, 7, 0, 1, b't', 1, 2, b'x', b'y']);
        bytes.clear();
        publish(&mut bytes, "t", &[0; 200], None);
        assert_eq!(bytes[..3], [0x30, 0xcb, 0x01]);
        bytes.clear();
        acknowledge(&mut bytes, 258);
        assert_eq!(bytes, [0x40, 2, 1, 2]);
    }
}

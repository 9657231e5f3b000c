//! The few MQTT 3.1.1 packets that the load consists of, encoded.

/// Packet type of CONNECT.
pub const CONNECT: u8 = 1;
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
/// Packet type of PUBREC.
pub const PUBREC: u8 = 5;
/// Packet type of PUBREL.
pub const PUBREL: u8 = 6;
/// Packet type of PUBCOMP.
pub const PUBCOMP: u8 = 7;
/// Packet type of SUBSCRIBE.
pub const SUBSCRIBE: u8 = 8;
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
    connect_with(client_id, 0b10)
}

/// CONNECT: a session that outlives the connection, no will.
pub fn connect_persistent(client_id: &str) -> Vec<u8> {
    connect_with(client_id, 0)
}

fn connect_with(client_id: &str, flags: u8) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags];
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

/// Appends a PUBLISH: at QoS 1 or 2 with a packet id, else at QoS 0.
pub fn publish(to: &mut Vec<u8>, topic: &str, payload: &[u8], assured: Option<(u8, u16)>) {
    to.push(PUBLISH << 4 | assured.map_or(0, |(qos, _)| qos << 1));
    remaining_length(to, 2 + topic.len() + assured.map_or(0, |_| 2) + payload.len());
    text(to, topic);
    to.extend(assured.iter().flat_map(|(_, id)| id.to_be_bytes()));
    to.extend_from_slice(payload);
}

/// Appends the next step after a packet: PUBACK, PUBREC, PUBREL or PUBCOMP.
pub fn answer(to: &mut Vec<u8>, kind: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    let flags = if kind == PUBREL { 0b10 } else { 0 };
    to.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
}

/// Appends a packet as it came.
pub fn again(to: &mut Vec<u8>, first: u8, body: &[u8]) {
    to.push(first);
    remaining_length(to, body.len());
    to.extend_from_slice(body);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    again(&mut packet, first, body);
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
        publish(&mut bytes, "t", b"xy", Some((1, 258)));
        assert_eq!(bytes, [0x32, 7, 0, 1, b't', 1, 2, b'x', b'y']);
        bytes.clear();
        publish(&mut bytes, "t", &[0; 200], None);
        assert_eq!(bytes[..3], [0x30, 0xcb, 0x01]);
        bytes.clear();
        answer(&mut bytes, PUBACK, 258);
        assert_eq!(bytes, [0x40, 2, 1, 2]);
        answer(&mut bytes, PUBREL, 3);
        assert_eq!(bytes[4..], [0x62, 2, 0, 3]);
    }
}

//! MQTT packets by hand, for tests that mean every byte.

/// A CONNECT.
pub struct Connect<'a> {
    pub version: u8,
    pub client_id: &'a str,
    pub clean: bool,
    pub keep_alive: u16,
    /// Topic, payload, QoS, RETAIN.
    pub will: Option<(&'a str, &'a str, u8, bool)>,
    /// MQTT 5 properties of the will, encoded.
    pub will_properties: &'a [u8],
    pub user_name: Option<&'a str>,
    /// MQTT 5 properties, encoded.
    pub properties: &'a [u8],
}

impl<'a> Connect<'a> {
    pub fn new(version: u8, client_id: &'a str) -> Self {
        Self {
            version,
            client_id,
            clean: true,
            keep_alive: 600,
            will: None,
            will_properties: &[],
            user_name: None,
            properties: &[],
        }
    }

    pub fn packet(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some((_, _, qos, retain)) = self.will {
            flags |= 0b100 | qos << 3 | u8::from(retain) << 5;
        }
        if self.user_name.is_some() {
            flags |= 0x80;
        }
        let mut body = [&b"\0\x04MQTT"[..], &[self.version, flags], &self.keep_alive.to_be_bytes()].concat();
        if self.version == 5 {
            body.push(self.properties.len() as u8);
            body.extend_from_slice(self.properties);
        }
        body.extend(text(self.client_id));
        if let Some((topic, payload, _, _)) = self.will {
            if self.version == 5 {
                body.push(self.will_properties.len() as u8);
                body.extend_from_slice(self.will_properties);
            }
            body.extend(text(topic));
            body.extend(text(payload));
        }
        if let Some(name) = self.user_name {
            body.extend(text(name));
        }
        packet(0x10, &body)
    }
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let digit = (length & 0x7f) as u8;
        length >>= 7;
        packet.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A PUBLISH; the packet id counts for QoS 1 and 2.
pub fn publish(version: u8, topic: &str, payload: &[u8], qos: u8, packet_id: u16) -> Vec<u8> {
    publish_flags(version, topic, payload, qos << 1, packet_id)
}

pub fn publish_flags(version: u8, topic: &str, payload: &[u8], flags: u8, packet_id: u16) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 0b110 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30 | flags, &body)
}

pub fn puback(packet_id: u16) -> Vec<u8> {
    packet(0x40, &packet_id.to_be_bytes())
}

pub fn subscribe(version: u8, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub fn unsubscribe(version: u8, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(text(filter));
    }
    packet(0xa2, &body)
}

/// A PUBLISH that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub packet_id: u16,
    pub properties: Vec<u8>,
}

impl Publish {
    pub fn read(packet: &[u8], version: u8) -> Self {
        assert_eq!(packet.first().map(|b| b >> 4), Some(3), "no PUBLISH but {packet:?}");
        let flags = packet[0] & 0x0f;
        let start = 1 + packet[1..].iter().position(|b| b & 0x80 == 0).unwrap() + 1;
        let length = usize::from(u16::from_be_bytes([packet[start], packet[start + 1]]));
        let mut rest = &packet[start + 2..];
        let topic = String::from_utf8(rest[..length].to_vec()).unwrap();
        rest = &rest[length..];
        let qos = flags >> 1 & 0b11;
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = Vec::new();
        if version == 5 {
            let length = usize::from(rest[0]);
            properties = rest[1..=length].to_vec();
            rest = &rest[1 + length..];
        }
        let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
        Self { topic, payload: rest.to_vec(), qos, dup, retain, packet_id, properties }
    }
}

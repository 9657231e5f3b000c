//! CONNECT, valid or not.
use super::fields::{binary, text};
use super::property::{Property, block};
use super::{V3, V5};
use crate::wire::{KEEP_ALIVE, packet};

/// A CONNECT. By default: clean, a long keep alive, nothing else.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The protocol level.
    pub level: u8,
    /// The protocol name.
    pub name: &'static str,
    /// The client id; bytes, as it may be wrong.
    pub client_id: Vec<u8>,
    /// Clean Session, Clean Start.
    pub clean: bool,
    /// In seconds.
    pub keep_alive: u16,
    /// Not in MQTT 3.1.1.
    pub properties: Vec<Property>,
    /// The will.
    pub will: Option<Will>,
    /// The user name.
    pub user_name: Option<Vec<u8>>,
    /// The password.
    pub password: Option<Vec<u8>>,
    /// Instead of the flags that fit the rest.
    pub flags: Option<u8>,
}

/// A will.
#[derive(Debug, Clone, Default)]
pub struct Will {
    /// Its topic.
    pub topic: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Will QoS.
    pub qos: u8,
    /// Will Retain.
    pub retain: bool,
    /// Not in MQTT 3.1.1.
    pub properties: Vec<Property>,
}

impl Will {
    /// QoS 1, not retained, without delay.
    pub fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: 1, ..Self::default() }
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

impl Connect {
    /// With this client id.
    pub fn new(level: u8, client_id: &str) -> Self {
        Self {
            level,
            name: "MQTT",
            client_id: client_id.into(),
            clean: true,
            keep_alive: KEEP_ALIVE,
            properties: Vec::new(),
            will: None,
            user_name: None,
            password: None,
            flags: None,
        }
    }

    /// MQTT 3.1.1.
    pub fn v3(client_id: &str) -> Self {
        Self::new(V3, client_id)
    }

    /// MQTT 5.0.
    pub fn v5(client_id: &str) -> Self {
        Self::new(V5, client_id)
    }

    /// Goes on with its session, which lasts long enough for a test.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.clean = false;
        if self.level == V5 { self.with(Property::SessionExpiry(600)) } else { self }
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        let mut payload = binary(&self.client_id);
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
            if self.level == V5 {
                payload.extend(block(&will.properties));
            }
            payload.extend([binary(&will.topic), binary(&will.payload)].concat());
        }
        for (field, flag) in [(&self.user_name, 0x80), (&self.password, 0x40)] {
            if let Some(field) = field {
                flags |= flag;
                payload.extend(binary(field));
            }
        }
        let mut body = text(self.name);
        body.extend([self.level, self.flags.unwrap_or(flags)]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level == V5 {
            body.extend(block(&self.properties));
        }
        body.extend(payload);
        packet(0x10, &body)
    }
}

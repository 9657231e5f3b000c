//! Properties of MQTT 5.
use super::fields::{Rest, binary, text, variable};
use anyhow::bail;

/// One property.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the specification, section 2.2.2.2")]
pub enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionIdentifier(u32),
    SessionExpiry(u32),
    AssignedClientId(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelay(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    User(String, String),
    MaximumPacketSize(u32),
    WildcardAvailable(u8),
    IdentifiersAvailable(u8),
    SharedAvailable(u8),
}

/// Properties with their length in front.
pub fn block(properties: &[Property]) -> Vec<u8> {
    let bytes: Vec<u8> = properties.iter().flat_map(Property::encode).collect();
    [variable(bytes.len()), bytes].concat()
}

impl Property {
    /// A user property.
    pub fn user(name: &str, value: &str) -> Self {
        Self::User(name.to_owned(), value.to_owned())
    }

    fn encode(&self) -> Vec<u8> {
        let (id, value) = match self {
            Self::PayloadFormat(value) => (0x01, vec![*value]),
            Self::MessageExpiry(value) => (0x02, value.to_be_bytes().to_vec()),
            Self::ContentType(value) => (0x03, text(value)),
            Self::ResponseTopic(value) => (0x08, text(value)),
            Self::CorrelationData(value) => (0x09, binary(value)),
            Self::SubscriptionIdentifier(value) => (0x0b, variable(*value as usize)),
            Self::SessionExpiry(value) => (0x11, value.to_be_bytes().to_vec()),
            Self::AssignedClientId(value) => (0x12, text(value)),
            Self::ServerKeepAlive(value) => (0x13, value.to_be_bytes().to_vec()),
            Self::AuthenticationMethod(value) => (0x15, text(value)),
            Self::AuthenticationData(value) => (0x16, binary(value)),
            Self::RequestProblemInformation(value) => (0x17, vec![*value]),
            Self::WillDelay(value) => (0x18, value.to_be_bytes().to_vec()),
            Self::RequestResponseInformation(value) => (0x19, vec![*value]),
            Self::ResponseInformation(value) => (0x1a, text(value)),
            Self::ServerReference(value) => (0x1c, text(value)),
            Self::ReasonString(value) => (0x1f, text(value)),
            Self::ReceiveMaximum(value) => (0x21, value.to_be_bytes().to_vec()),
            Self::TopicAliasMaximum(value) => (0x22, value.to_be_bytes().to_vec()),
            Self::TopicAlias(value) => (0x23, value.to_be_bytes().to_vec()),
            Self::MaximumQos(value) => (0x24, vec![*value]),
            Self::RetainAvailable(value) => (0x25, vec![*value]),
            Self::User(name, value) => (0x26, [text(name), text(value)].concat()),
            Self::MaximumPacketSize(value) => (0x27, value.to_be_bytes().to_vec()),
            Self::WildcardAvailable(value) => (0x28, vec![*value]),
            Self::IdentifiersAvailable(value) => (0x29, vec![*value]),
            Self::SharedAvailable(value) => (0x2a, vec![*value]),
        };
        [vec![id], value].concat()
    }

    pub(super) fn decode_block(rest: &mut Rest<'_>) -> anyhow::Result<Vec<Self>> {
        let length = rest.variable()?;
        let mut block = Rest(rest.take(length)?);
        let mut properties: Vec<Self> = Vec::new();
        while !block.0.is_empty() {
            let property = Self::decode(&mut block)?;
            let again = |other: &Self| std::mem::discriminant(other) == std::mem::discriminant(&property);
            let repeatable = matches!(property, Self::User(..) | Self::SubscriptionIdentifier(_));
            anyhow::ensure!(repeatable || !properties.iter().any(again), "{property:?} twice");
            properties.push(property);
        }
        Ok(properties)
    }

    fn decode(rest: &mut Rest<'_>) -> anyhow::Result<Self> {
        Ok(match rest.byte()? {
            0x01 => Self::PayloadFormat(rest.byte()?),
            0x02 => Self::MessageExpiry(rest.int()?),
            0x03 => Self::ContentType(rest.text()?),
            0x08 => Self::ResponseTopic(rest.text()?),
            0x09 => Self::CorrelationData(rest.binary()?),
            0x0b => Self::SubscriptionIdentifier(rest.variable()? as u32),
            0x11 => Self::SessionExpiry(rest.int()?),
            0x12 => Self::AssignedClientId(rest.text()?),
            0x13 => Self::ServerKeepAlive(rest.short()?),
            0x15 => Self::AuthenticationMethod(rest.text()?),
            0x16 => Self::AuthenticationData(rest.binary()?),
            0x1a => Self::ResponseInformation(rest.text()?),
            0x1c => Self::ServerReference(rest.text()?),
            0x1f => Self::ReasonString(rest.text()?),
            0x21 => Self::ReceiveMaximum(rest.short()?),
            0x22 => Self::TopicAliasMaximum(rest.short()?),
            0x23 => Self::TopicAlias(rest.short()?),
            0x24 => Self::MaximumQos(rest.byte()?),
            0x25 => Self::RetainAvailable(rest.byte()?),
            0x26 => Self::User(rest.text()?, rest.text()?),
            0x27 => Self::MaximumPacketSize(rest.int()?),
            0x28 => Self::WildcardAvailable(rest.byte()?),
            0x29 => Self::IdentifiersAvailable(rest.byte()?),
            0x2a => Self::SharedAvailable(rest.byte()?),
            id => bail!("the property {id:#04x}, which servers do not send"),
        })
    }

    /// Where a server may send it: the packet types.
    pub(super) fn belongs_to(&self, kind: u8) -> bool {
        match self {
            Self::PayloadFormat(_)
            | Self::MessageExpiry(_)
            | Self::ContentType(_)
            | Self::ResponseTopic(_)
            | Self::CorrelationData(_)
            | Self::SubscriptionIdentifier(_)
            | Self::TopicAlias(_) => kind == 3,
            Self::User(..) => true,
            Self::ReasonString(_) => kind != 3,
            Self::ServerReference(_) => kind == 2 || kind == 14,
            _ => kind == 2,
        }
    }
}

//! MQTT packets to and from bytes (OASIS MQTT 3.1.1 and 5.0). Pure: no I/O and no session state.
//!
//! Property blocks are read and written by `mqtt-protocol-core`; the frames around them are read in place,
//! because one PUBLISH must not cost more than the message that comes out of it.
mod connect;
mod frame;
mod inbound;
mod outbound;
mod outbound_aliases;
mod properties;
mod reader;

pub(crate) use connect::{ConnackCode, Connect, ConnectRefused, WillRequest};
pub(crate) use frame::{Frame, next_frame};
pub(crate) use inbound::{Aliases, Inbound, InboundPublish};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use outbound::LARGEST_CONNACK;
pub(crate) use outbound::{ConnackProperties, Outbound};

use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use std::borrow::Cow;

/// What a client did against the protocol or its limits. The connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// What an MQTT 5 client is told.
    pub code: DisconnectReasonCode,
    /// For the log: what was wrong.
    pub message: Cow<'static, str>,
}

impl Violation {
    pub(crate) fn new(code: DisconnectReasonCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(DisconnectReasonCode::MalformedPacket, message)
    }
    pub(crate) fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(DisconnectReasonCode::ProtocolError, message)
    }
}

//! MQTT by hand: packets put together byte by byte and read by a decoder of the tests' own, so that a mistake of the
//! broker's codec is seen. The decoder is strict: what a server must not send is an error.
mod client;
mod connect;
mod fields;
mod packet;
mod property;
mod publish;

pub use client::{Client, Closed};
pub use connect::{Connect, Will};
pub use fields::{binary, text, variable};
pub use packet::Packet;
pub use property::{Property, block};
pub use publish::Publish;

/// MQTT 3.1.1.
pub const V3: u8 = 4;
/// MQTT 5.0.
pub const V5: u8 = 5;

//! TLS, MQTT 3.1.1 and 5, sessions, router, enforcement, reserved topics and events of jitp.

mod config;
mod server;

pub use config::{Config, Limits, Profile};
pub use server::{Broker, ServerIdentity};

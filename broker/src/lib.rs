//! TLS, MQTT 3.1.1 and 5, sessions, router, enforcement, reserved topics and events of jitp.

pub mod backend;
mod config;
mod connection;
mod enforcement;
mod events;
mod figures;
mod listener;
mod live;
pub mod message;
mod record;
mod retained;
mod router;
mod server;
mod services;
pub mod session;
mod tls;
pub mod topic;

/// What the fuzz targets of `broker/fuzz` call.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    pub use crate::connection::exercise::{Plant, codec};
}

pub use config::{Config, Limits, Profile};
pub use server::{Broker, ServerIdentity};

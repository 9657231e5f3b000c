//! TLS, MQTT 3.1.1 and 5, sessions, router, enforcement, reserved topics and events of jitp.

pub mod backend;
mod config;
mod connection;
mod control;
mod device_http;
mod enforcement;
mod events;
mod figures;
mod listener;
mod live;
pub mod message;
mod publication;
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
    pub use crate::services::exercise as request;
}

pub use config::{Config, Https, Limits, Profile};
pub use device_http::{Bytes, Device, DeviceHttp, DeviceStream, EST_TOPIC};
pub use server::{Broker, ServerIdentity};

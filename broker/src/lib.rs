//! TLS, MQTT 3.1.1 and 5, sessions, router, enforcement, reserved topics and events of jitp.

pub mod backend;
mod batch;
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
mod overload;
mod proxy_protocol;
mod publication;
mod rates;
mod record;
mod retained;
mod router;
pub mod runtime;
mod server;
mod services;
pub mod session;
mod tls;
pub mod topic;
mod websocket;

/// What the fuzz targets of `broker/fuzz` call.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    pub use crate::connection::exercise::swarm::Swarm;
    pub use crate::connection::exercise::{Plant, codec};
    pub use crate::proxy_protocol::exercise as proxy_protocol;
    pub use crate::services::exercise as request;
    pub use crate::websocket::exercise as websocket;
}

pub use config::{Config, Excess, Limits, Profile, Rates};
pub use device_http::{Device, DeviceHttp, DeviceStream, EST_TOPIC, Upgraded};
pub use listener::{Listener, Protocol};
pub use proxy_protocol::Proxies;
pub use server::{Broker, ServerIdentity};

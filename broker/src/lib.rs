//! TLS, MQTT 3.1.1 and 5, sessions, router, enforcement, reserved topics and events of jitp.

pub mod backend;
mod config;
pub mod message;
mod retained;
mod router;
mod server;
pub mod session;
pub mod topic;

pub use config::{Config, Limits, Profile};
pub use server::{Broker, ServerIdentity};

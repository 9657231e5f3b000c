//! HTTP control plane of jitp: the AWS IoT REST operations, SigV4, health, metrics and jitp's own `/jitp/v1/`.

mod keys;
mod server;

pub use keys::{AccessKey, AccessKeys};
pub use server::{Api, Config};

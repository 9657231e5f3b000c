//! HTTP control plane of jitp: the AWS IoT REST operations, SigV4, health, metrics and jitp's own `/jitp/v1/`.
#![deny(missing_docs)]

mod call;
mod error;
mod health;
mod keys;
mod operations;
mod page;
mod reply;
mod resource;
mod route;
mod server;
mod service;
mod signature;
mod text;

pub use keys::{AccessKey, AccessKeys};
pub use operations::{OperationRoute, operations};
pub use server::{Api, Config};

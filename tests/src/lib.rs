//! What the end-to-end tests share: the real binary as a process, a factory that makes devices, real clients.
//!
//! Everything here goes through the program's own doors: its command line, its ports, its files.

mod api;
mod broker;
mod factory;
pub mod mqtt;
mod patience;
mod plant;
mod shared;
mod small_disk;
mod watcher;
pub mod wire;

pub use api::{Api, Reply};
pub use broker::{Broker, BrokerOptions, Finished, Running, jitp};
pub use factory::{DeviceFiles, Factory, now};
pub use patience::{LONG_PATIENCE, PATIENCE, eventually};
pub use plant::{OPEN_TEMPLATE, POLICY, Plant, TEMPLATE, edited};
pub use shared::Shared;
pub use small_disk::SmallDisk;
pub use watcher::{Message, Watcher};
pub use wire::{Frame, Wire};

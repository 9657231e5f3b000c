//! What the end-to-end tests share: the real binary as a process, a factory that makes devices, real clients.
//!
//! Everything here goes through the program's own doors: its command line, its ports, its files.

mod broker;
mod factory;
pub mod wire;

pub use broker::{Broker, BrokerOptions, Finished, jitp};
pub use factory::{DeviceFiles, Factory, now};
pub use wire::{Frame, Wire};

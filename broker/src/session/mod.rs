//! What outlives a connection: subscriptions, messages in flight, queued messages, the will.

mod handle;
mod in_flight;

pub use handle::{SessionHandle, Wake};
pub use in_flight::InFlight;

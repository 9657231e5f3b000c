//! Events out (`spec/events.md`): what happens in the registry and on connections, as messages on reserved
//! topics.
//!
//! Registry events follow the change log with a stored cursor: at least once, also across a crash. Lifecycle
//! events are published by the connections. Both go through the router and nowhere else.
mod lifecycle;
mod outbox;
mod registry_event;
mod version_numbers;

pub(crate) use lifecycle::{DisconnectReason, Lifecycle, Presence};
pub(crate) use outbox::follow;

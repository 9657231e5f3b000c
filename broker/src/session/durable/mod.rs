//! Durable sessions: what a session with an expiry is, has and owes is stored, so that it survives a restart and a kill
//! (`docs/decisions/durable-sessions.md`).
//!
//! The state that counts is in memory, as for every session, except what of a long queue is not. Beside it everything that
//! changes is recorded, and what a client is told about it waits until the record is durable.
mod fields;
mod recorder;
mod rows;
mod sequence;
mod stored_message;
mod stored_will;
mod wall;

pub use fields::Unreadable;
pub(crate) use recorder::{LateRecording, Progress, Recorder, Recording, StoreBounds};
pub use recorder::{NotStored, Ticket};
pub(crate) use rows::{
    Owed, StoredDelivery, StoredInFlight, StoredSession, StoredWhere, decode_subscription,
    encode_subscription, stored_filter,
};
pub(crate) use sequence::Sequence;
pub(crate) use stored_message::decode_message;
pub(crate) use stored_will::StoredWill;
pub(crate) use wall::Wall;

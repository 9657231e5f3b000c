//! Messages through TLS: what the scenarios have in common that publish to subscribers.
//!
//! What is outstanding is bounded by the generator, so that every peer is measured at delivering and none at dropping:
//! publishers wait when the slowest subscriber is too far behind. Losses are counted all the same.
mod answers;
mod contestants;
mod crowd;
mod flow;
mod load;
mod members;
mod outgoing;
mod paced;
mod participant;
mod publishing;
mod receiving;
mod shape;

pub use contestants::Contestants;
pub use paced::Lateness;
pub use shape::{Shape, Topics};

use flow::Flow;

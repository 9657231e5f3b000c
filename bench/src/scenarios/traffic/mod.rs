//! Messages through TLS: what the scenarios have in common that publish to subscribers.
//!
//! What is outstanding is bounded by the generator, so that every peer is measured at delivering and none at dropping:
//! publishers wait when the slowest subscriber is too far behind. Losses are counted all the same.
mod contestants;
mod crowd;
mod flow;
mod load;
mod participant;
mod publishing;
mod receiving;
mod schedule;
mod shape;

pub use contestants::Contestants;
pub use shape::{Shape, Topics};

use flow::Flow;

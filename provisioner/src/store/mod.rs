//! An ordered key-value store with atomic, durable commits and an ordered change log.
//!
//! Nothing above this module knows which engine is below. No assumption that a read is free, or that this process is
//! the only writer.
use std::fmt;

/// Position in the commit order. 0 is before the first commit.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

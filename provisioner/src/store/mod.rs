//! An ordered key-value store with atomic, durable commits and an ordered change log.
//!
//! Nothing above this module knows which engine is below. No assumption that a read is free, or that this process is
//! the only writer.
mod batch;
mod cursor;
mod error;
mod gate;
mod key_range;
mod retention;
mod session_layer;
mod session_writes;
pub(crate) mod sled;
mod table;
mod touched;

pub(crate) use batch::{Batch, Expectation, Write};
pub(crate) use cursor::Cursor;
pub(crate) use error::StoreError;
pub(crate) use gate::{Gate, Snapshot, unconditional};
pub(crate) use key_range::{Direction, KeyRange};
pub(crate) use retention::Retention;
pub(crate) use session_layer::{LayerRow, SessionCommit, SessionLayer};
pub use session_writes::SessionWrites;
pub(crate) use table::Table;
pub(crate) use touched::Touched;

use crate::provisioner::Health;
use std::fmt;
use tokio::sync::watch;

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

/// A key. Keys of a table are ordered bytewise.
pub(crate) type Key = Vec<u8>;

/// A value with the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub revision: Revision,
    pub value: Vec<u8>,
}

/// The changes of one commit, as given in its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedChanges {
    pub revision: Revision,
    pub changes: Vec<u8>,
}

/// What every engine offers.
///
/// What a read shows is durable: a reader never acts on something that a crash could take back. Two reads are not one
/// snapshot; who needs that states what it read as expectations of its batch.
#[async_trait::async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// One value.
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Versioned>, StoreError>;
    /// Rows of a range in key order, or against it; at most `limit`.
    async fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Versioned)>, StoreError>;
    /// All or nothing: [`StoreError::Conflict`] and nothing written if an expectation does not hold. Durable when it
    /// returns. Cancelling the future does not undo the commit.
    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError>;
    /// A commit that nobody waits for: durable within about 100 ms, lost if the process dies before. Never blocks;
    /// refused when the queue is full. Must carry no expectations: nobody would hear of a conflict.
    fn commit_later(&self, batch: Batch) -> Result<(), StoreError>;
    /// The changes of commits after a revision, in commit order, at most `limit` commits.
    async fn changes_since(&self, after: Revision, limit: usize) -> Result<Vec<LoggedChanges>, StoreError>;
    /// A read that begins now sees every commit up to this one.
    fn visible(&self) -> Revision;
    /// Changes up to this revision may be gone from the log.
    fn trimmed(&self) -> Revision;
    /// The newest durable revision that has changes; what waits for the log's growth watches it. Closed when the store is.
    fn latest(&self) -> watch::Receiver<Revision>;
    /// Can it be written?
    fn health(&self) -> Health;
    /// Waits for commits under way, flushes, and lets go of the files. Later calls fail with `Unavailable`.
    async fn close(&self) -> Result<(), StoreError>;
}

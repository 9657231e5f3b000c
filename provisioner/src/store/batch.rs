//! What one commit expects, writes and reports.
use super::{Key, Revision, SessionWrites, Table};
use std::sync::Arc;

/// One commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    /// All must hold, or nothing is written.
    pub expectations: Vec<Expectation>,
    /// What the expectations say was read when every commit up to this one was visible. Saves looking at what has not been
    /// written since; 0 is always right.
    pub read_since: Revision,
    /// At most one per key.
    pub writes: Vec<Write>,
    /// What it writes to the tables of sessions, after the others.
    pub sessions: Option<Arc<SessionWrites>>,
    /// The commit's entry in the change log; `None`: it has none.
    pub changes: Option<Vec<u8>>,
}

/// What must still be as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// The row was last written by this commit; `None`: it does not exist.
    Revision { table: Table, key: Key, revision: Option<Revision> },
    /// The rows with this prefix are the same: as many, and none written after `newest`. Catches rows added, written
    /// and deleted alike. Costs a scan of `rows` + 1 rows, so it is for prefixes that are short by rule, or empty.
    Prefix { table: Table, prefix: Key, rows: usize, newest: Revision },
}

/// One row put, or deleted (`None`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub table: Table,
    pub key: Key,
    pub value: Option<Vec<u8>>,
}

impl Batch {
    /// About how many bytes it writes.
    pub(crate) fn weight(&self) -> usize {
        let rows: usize =
            self.writes.iter().map(|w| 32 + w.key.len() + w.value.as_ref().map_or(0, Vec::len)).sum();
        rows + self.sessions.as_ref().map_or(0, |sessions| sessions.len())
            + self.changes.as_ref().map_or(0, |c| 32 + c.len())
    }
}

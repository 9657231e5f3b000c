//! Following the change log.
use super::ChangeEntry;
use super::logged::decode_changes;
use crate::clock::Clock;
use crate::error::RegistryError;
use crate::store::{Batch, Cursor, Revision, Store, Table, Write};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// Reads the change log in order and waits for its growth. Cheap to clone.
///
/// The log is trimmed: at least the newest 100,000 commits stay, and what a consumer with a stored cursor has not read
/// yet, up to 500,000 commits, unless its cursor has not moved for 7 days.
#[derive(Clone)]
pub struct ChangeFeed {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    latest: watch::Receiver<Revision>,
    /// What was read last: who follows close behind another reads it from here.
    recent: Arc<Mutex<Recent>>,
}

impl ChangeFeed {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let latest = store.latest();
        Self { store, clock, latest, recent: Arc::default() }
    }
    /// Changes after `after` in commit order: all changes of a commit or none, at least one commit if there is one,
    /// about `limit` at most.
    ///
    /// What has been trimmed is skipped; who cannot bear that asks [`ChangeFeed::is_trimmed_after`].
    pub async fn since(&self, after: Revision, limit: usize) -> Result<Vec<Arc<ChangeEntry>>, RegistryError> {
        let mut recent = self.recent.lock().await;
        if after < recent.after {
            // Who is far behind makes nobody wait.
            drop(recent);
            return self.read(after, limit).await;
        }
        if let Some(entries) = recent.since(after, limit) {
            return Ok(entries);
        }
        let entries = self.read(after, limit).await?;
        recent.take(after, &entries);
        Ok(entries)
    }
    async fn read(&self, after: Revision, limit: usize) -> Result<Vec<Arc<ChangeEntry>>, RegistryError> {
        let mut entries = Vec::new();
        // A commit has at least one change, so `limit` commits are enough.
        for logged in self.store.changes_since(after, limit.max(1)).await? {
            if !entries.is_empty() && entries.len() >= limit {
                break;
            }
            entries.extend(decode_changes(&logged)?.map(Arc::new));
        }
        Ok(entries)
    }
    /// Have changes after this revision been trimmed? A reader that kept up only in memory must then start anew.
    pub fn is_trimmed_after(&self, after: Revision) -> bool {
        after < self.store.trimmed()
    }
    /// The newest committed revision that has changes.
    pub fn latest(&self) -> Revision {
        *self.latest.borrow()
    }
    /// Returns when changes beyond `after` are committed. Cancel-safe. Never returns once the registry is closed.
    pub async fn beyond(&self, after: Revision) {
        if self.latest.clone().wait_for(|latest| *latest > after).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    /// The stored cursor of a consumer, revision 0 if it has none.
    pub async fn cursor(&self, consumer: &str) -> Result<Revision, RegistryError> {
        match self.store.get(Table::Cursors, consumer.as_bytes()).await? {
            Some(row) => Ok(Cursor::decode(consumer.as_bytes(), &row.value)?.done),
            None => Ok(Revision(0)),
        }
    }
    /// Stores the cursor of a consumer: everything up to it is done. Not durable on return, but soon after: after a
    /// crash a consumer may see again what it has done.
    pub async fn advance(&self, consumer: &str, done: Revision) -> Result<(), RegistryError> {
        let cursor = Cursor { done, at: self.clock.now() };
        let write =
            Write { table: Table::Cursors, key: consumer.as_bytes().to_vec(), value: Some(cursor.encode()) };
        self.store.commit_later(Batch { writes: vec![write], ..Batch::default() })?;
        Ok(())
    }
}

/// Most changes kept in memory, give or take a commit.
const KEPT: usize = 2048;

/// The newest changes that were read: all of them after one commit, up to another.
#[derive(Debug, Default)]
struct Recent {
    after: Revision,
    up_to: Revision,
    entries: VecDeque<Arc<ChangeEntry>>,
}

impl Recent {
    /// Whole commits after this one, as [`ChangeFeed::since`] returns them; `None`: not known here.
    fn since(&self, after: Revision, limit: usize) -> Option<Vec<Arc<ChangeEntry>>> {
        if after < self.after || after >= self.up_to {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.revision <= after);
        let mut found: Vec<Arc<ChangeEntry>> = Vec::new();
        for entry in self.entries.range(first..) {
            let begins_commit = found.last().is_none_or(|last| last.revision != entry.revision);
            if begins_commit && !found.is_empty() && found.len() >= limit {
                break;
            }
            found.push(Arc::clone(entry));
        }
        Some(found)
    }

    /// Adds what was read after a commit.
    fn take(&mut self, after: Revision, entries: &[Arc<ChangeEntry>]) {
        let Some(last) = entries.last() else { return };
        if after != self.up_to {
            self.entries.clear();
            self.after = after;
        }
        self.up_to = last.revision;
        self.entries.extend(entries.iter().cloned());
        while self.entries.len() > KEPT {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.after = oldest.revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;
    use crate::clock::Timestamp;

    /// Commits with so many changes each.
    fn entries(commits: impl IntoIterator<Item = (u64, usize)>) -> Vec<Arc<ChangeEntry>> {
        let entry = |revision| ChangeEntry {
            revision: Revision(revision),
            event_id: uuid::Uuid::new_v4(),
            timestamp: Timestamp(0),
            change: Change::EventConfigurations,
        };
        let commits = commits.into_iter();
        commits.flat_map(|(revision, changes)| (0..changes).map(move |_| Arc::new(entry(revision)))).collect()
    }
    fn revisions(entries: Option<Vec<Arc<ChangeEntry>>>) -> Option<Vec<u64>> {
        Some(entries?.iter().map(|entry| entry.revision.0).collect())
    }

    #[test]
    fn what_one_has_read_the_next_reads_from_memory_in_whole_commits() {
        let mut recent = Recent::default();
        // Revisions without changes are not in the log.
        recent.take(Revision(3), &entries([(5, 2), (6, 1), (9, 2)]));
        let since = |after, limit| revisions(recent.since(Revision(after), limit));
        assert_eq!(since(3, 100), Some(vec![5, 5, 6, 9, 9]));
        assert_eq!(since(4, 1), Some(vec![5, 5]));
        assert_eq!(since(5, 2), Some(vec![6, 9, 9]));
        assert_eq!(since(7, 1), Some(vec![9, 9]));
        assert_eq!(since(9, 100), None, "there may be more in the store");
        assert_eq!(since(2, 100), None, "commit 3 may have changes");
    }

    #[test]
    fn what_does_not_follow_on_begins_anew() {
        let mut recent = Recent::default();
        recent.take(Revision(0), &entries([(1, 1), (2, 1)]));
        recent.take(Revision(2), &entries([(3, 1)]));
        assert_eq!(revisions(recent.since(Revision(0), 100)), Some(vec![1, 2, 3]));
        recent.take(Revision(7), &entries([(8, 1)]));
        assert_eq!(recent.since(Revision(0), 100), None);
        assert_eq!(revisions(recent.since(Revision(7), 100)), Some(vec![8]));
        recent.take(Revision(8), &[]);
        assert_eq!(revisions(recent.since(Revision(7), 100)), Some(vec![8]));
    }

    #[test]
    fn the_oldest_commits_go_whole() {
        let mut recent = Recent::default();
        let commits = KEPT as u64;
        recent.take(Revision(0), &entries((1..=commits).map(|revision| (revision, 3))));
        assert!(recent.entries.len() <= KEPT);
        assert_eq!(recent.since(Revision(0), 10), None);
        let first = recent.after.0 + 1;
        let found = revisions(recent.since(recent.after, 3));
        assert_eq!(found, Some(vec![first; 3]), "none of a commit is missing");
    }
}

//! The one thread that writes: takes all waiting batches, decides each, writes them, flushes once, answers all.
use super::disk::DiskGuard;
use super::overlay::Overlay;
use super::queue::{Queue, Request};
use super::status::Status;
use super::trees::Trees;
use crate::clock::Clock;
use crate::store::{Batch, Cursor, Direction, Key, KeyRange, Retention, Revision, StoreError, Table};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Commits written in one transaction of sled, which readers wait for. The flush is for the whole group.
const TRANSACTION_COMMITS: usize = 16;
/// Rows of the engine's own table.
const REVISION: &[u8] = b"revision";
const TRIMMED: &[u8] = b"trimmed";

/// Owns all writes.
pub(super) struct Committer {
    trees: Arc<Trees>,
    queue: Arc<Queue>,
    guard: Arc<DiskGuard>,
    status: Arc<Status>,
    retention: Retention,
    clock: Arc<dyn Clock>,
    /// The last revision given.
    revision: Revision,
    /// The last one with changes.
    latest: Revision,
    /// Changes up to here are gone.
    trimmed: Revision,
    cursors: BTreeMap<Key, Cursor>,
}

type Reply = Option<oneshot::Sender<Result<Revision, StoreError>>>;

impl Committer {
    /// Finds out where the registry stands.
    pub(super) fn new(
        trees: Arc<Trees>,
        queue: Arc<Queue>,
        guard: Arc<DiskGuard>,
        retention: Retention,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Arc<Status>), StoreError> {
        let revision = position(&trees, REVISION)?;
        let trimmed = position(&trees, TRIMMED)?;
        let all = KeyRange::prefix(b"");
        let last = trees.scan(Table::Changes, &all, 1, Direction::Descending)?;
        let latest = last.first().map_or(trimmed, |(_, row)| row.revision);
        if latest > revision {
            return Err(StoreError::Corrupt(format!(
                "the registry in {} is damaged: its change log is at {latest}, but its revision is {revision}; \
                 restore a backup of the directory",
                trees.home().path().display()
            )));
        }
        let mut cursors = BTreeMap::new();
        for (key, row) in trees.scan(Table::Cursors, &all, usize::MAX, Direction::Ascending)? {
            let cursor = Cursor::decode(&key, &row.value)?;
            cursors.insert(key, cursor);
        }
        let status = Arc::new(Status::new(revision, latest, trimmed));
        let committer = Self {
            trees,
            queue,
            guard,
            status: Arc::clone(&status),
            retention,
            clock,
            revision,
            latest,
            trimmed,
            cursors,
        };
        Ok((committer, status))
    }

    /// Until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let status = Arc::clone(&self.status);
        let queue = Arc::clone(&self.queue);
        let ended = catch_unwind(AssertUnwindSafe(move || {
            while let Some(group) = self.queue.take() {
                self.commit(group);
            }
        }));
        if ended.is_err() {
            status.fail(
                "the storage engine has failed inside; see the log. Nothing more is written: check the disk, then \
                 restart jitp"
                    .into(),
            );
            queue.abandon();
        }
    }

    fn commit(&mut self, group: Vec<Request>) {
        let weight: usize = group.iter().map(|r| r.batch.weight()).sum();
        // Pages are rewritten around what is new, so more is written than was given.
        let room =
            self.status.failure().map_or(Ok(()), Err).and_then(|()| self.guard.check(4 * weight as u64));
        if let Err(why) = room {
            for request in group {
                answer(request.reply, Err(why.clone()));
            }
            return;
        }
        let mut committed = Vec::with_capacity(group.len());
        let mut group = group.into_iter().peekable();
        match self.write(&mut group, &mut committed) {
            Ok(()) => {
                self.status.advance(self.revision, self.latest, self.trimmed);
                for (reply, revision) in committed {
                    answer(reply, Ok(revision));
                }
            }
            Err(error) => {
                let why = self.status.fail(format!(
                    "a write to {} failed ({error}). Nothing more is written, so that nothing is half-written: check \
                     the disk, then restart jitp",
                    self.trees.home().path().display()
                ));
                let waiting = committed.into_iter().map(|(reply, _)| reply).chain(group.map(|r| r.reply));
                for reply in waiting {
                    answer(reply, Err(why.clone()));
                }
            }
        }
    }

    /// Writes what can be written of a group and flushes it. Conflicts are answered at once.
    fn write(
        &mut self,
        group: &mut Peekable<impl Iterator<Item = Request>>,
        committed: &mut Vec<(Reply, Revision)>,
    ) -> Result<(), StoreError> {
        let before = self.revision;
        while group.peek().is_some() {
            let mut overlay = Overlay::default();
            for Request { batch, reply, slot } in group.by_ref().take(TRANSACTION_COMMITS) {
                match overlay.meets(&batch, &self.trees) {
                    Ok(true) => {
                        self.revision.0 += 1;
                        committed.push((reply, self.revision));
                        self.take(batch, &mut overlay)?;
                    }
                    Ok(false) => answer(reply, Err(StoreError::Conflict)),
                    Err(error) => answer(reply, Err(error)),
                }
                drop(slot);
            }
            if group.peek().is_none() && self.revision > before {
                self.trim(&mut overlay)?;
            }
            if overlay.tables().next().is_some() {
                let revision = self.revision;
                overlay.put(revision, Table::Engine, REVISION.to_vec(), Some(&revision.0.to_be_bytes()));
                self.trees.apply(&overlay)?;
            }
        }
        if self.revision > before { self.trees.flush() } else { Ok(()) }
    }

    /// Adds a batch to what is to be written, as of the newest revision.
    fn take(&mut self, batch: Batch, overlay: &mut Overlay) -> Result<(), StoreError> {
        if batch.changes.is_some() {
            self.latest = self.revision;
        }
        for write in batch.writes.iter().filter(|w| w.table == Table::Cursors) {
            match &write.value {
                Some(value) => {
                    self.cursors.insert(write.key.clone(), Cursor::decode(&write.key, value)?);
                }
                None => {
                    self.cursors.remove(&write.key);
                }
            }
        }
        overlay.write(self.revision, batch);
        Ok(())
    }

    /// Deletes old changes, a few more in each group than a group brings.
    fn trim(&mut self, overlay: &mut Overlay) -> Result<(), StoreError> {
        let at_once = self.retention.trimmed_at_once;
        let up_to = self.retention.trim_up_to(self.latest, self.cursors.values(), self.clock.now());
        if up_to.0 < self.trimmed.0 + at_once {
            return Ok(());
        }
        let range =
            KeyRange { start: Bound::Unbounded, end: Bound::Included(up_to.0.to_be_bytes().to_vec()) };
        let at_most = usize::try_from(2 * at_once).unwrap_or(usize::MAX);
        let old = self.trees.scan(Table::Changes, &range, at_most, Direction::Ascending)?;
        self.trimmed = match old.last() {
            Some((_, row)) if old.len() == at_most => row.revision,
            _ => up_to,
        };
        for (key, _) in old {
            overlay.put(self.revision, Table::Changes, key, None);
        }
        let trimmed = self.trimmed.0.to_be_bytes();
        overlay.put(self.revision, Table::Engine, TRIMMED.to_vec(), Some(&trimmed));
        Ok(())
    }
}

/// Nobody may be waiting any more: cancelling does not undo a commit.
fn answer(reply: Reply, result: Result<Revision, StoreError>) {
    match (reply, result) {
        (Some(reply), result) => {
            let _ = reply.send(result);
        }
        (None, Err(error)) => tracing::warn!(%error, "a write that nobody waits for was lost"),
        (None, Ok(_)) => {}
    }
}

fn position(trees: &Trees, key: &[u8]) -> Result<Revision, StoreError> {
    let Some(row) = trees.get(Table::Engine, key)? else { return Ok(Revision(0)) };
    let bytes: [u8; 8] = row.value.as_slice().try_into().map_err(|_| {
        StoreError::Corrupt(format!(
            "the registry in {} is damaged: its row {:?} is not a number; restore a backup of the directory",
            trees.home().path().display(),
            String::from_utf8_lossy(key)
        ))
    })?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

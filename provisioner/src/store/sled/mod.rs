//! The embedded engine: sled 0.34 with one tree per table, a redo log before it, and a change log beside it.
//!
//! One thread owns all writes (`committer`): a group of commits is made durable in the redo log (`journal`), shown to the
//! readers (`rows`), answered, and written into the trees. Now and then a `checkpoint` makes the trees durable, so that the
//! redo log stays short. What is of sessions is not written into the trees before that (`unwritten`): most of it is deleted
//! by then.
mod change_log;
mod checkpoint;
mod committer;
mod disk;
mod frame;
mod group;
mod home;
mod journal;
mod key_filter;
mod known_keys;
mod queue;
mod recent;
mod rows;
mod small_tables;
mod status;
#[cfg(test)]
mod tests;
mod trees;
mod unwritten;

pub(crate) use disk::{DiskGuard, free_bytes};

use super::{
    Batch, Direction, Key, KeyRange, LoggedChanges, Retention, Revision, Store, StoreError, Table, Versioned,
};
use crate::clock::Clock;
use crate::provisioner::Health;
use arc_swap::ArcSwapOption;
use change_log::ChangeLog;
use committer::{Committer, Files};
use home::Home;
use queue::{Queue, Request};
use rows::VisibleRows;
use status::Status;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use trees::Trees;

/// A write that has not finished after this long never will: the disk hangs.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How long closing waits for readers that are still at it.
const READERS_DEADLINE: Duration = Duration::from_secs(2);

/// The registry's store in a directory.
pub(crate) struct SledStore {
    files: ArcSwapOption<Files>,
    queue: Arc<Queue>,
    status: Arc<Status>,
    guard: Arc<DiskGuard>,
    /// Ends when the committer has.
    committing: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

/// What opening needs to know.
pub(crate) struct SledOptions {
    /// sled's page cache in bytes.
    pub cache_bytes: u64,
    /// Says when the disk is too full to write.
    pub guard: DiskGuard,
    /// How much of the change log is kept.
    pub retention: Retention,
    pub clock: Arc<dyn Clock>,
}

impl SledStore {
    /// Opens, or creates, `<dir>/registry`. Fails clearly when another process has it open, or when its format is
    /// newer, unknown or damaged.
    pub(crate) async fn open(dir: &Path, options: SledOptions) -> Result<Self, StoreError> {
        let dir = dir.to_path_buf();
        let shown = dir.display().to_string();
        let opening = tokio::task::spawn_blocking(move || Self::open_blocking(&dir, options)).await;
        opening.unwrap_or_else(|panic| {
            Err(StoreError::Corrupt(format!(
                "the registry in {shown} is damaged and cannot be opened ({panic}): restore a backup of the directory"
            )))
        })
    }

    fn open_blocking(dir: &Path, options: SledOptions) -> Result<Self, StoreError> {
        let home = Home::open(dir)?;
        let guard = Arc::new(options.guard.watching(home.path()));
        let changes = ChangeLog::open(&home.changes()?, options.retention.segment_bytes)?;
        let trees = Trees::open(home, options.cache_bytes)?;
        let files = Files { rows: Arc::new(VisibleRows::new(trees)), changes: Arc::new(changes) };
        let queue = Arc::new(Queue::default());
        let committer = Committer::new(
            files.clone(),
            Arc::clone(&queue),
            Arc::clone(&guard),
            options.retention,
            options.clock,
        );
        let (committer, status) = match committer {
            Ok(committer) => committer,
            Err(error) => {
                abandon(files.rows);
                return Err(error);
            }
        };
        let (done, committing) = oneshot::channel();
        std::thread::Builder::new()
            .name("registry-committer".into())
            .spawn(move || {
                committer.run();
                // Nobody may be waiting for the end.
                let _ = done.send(());
            })
            .map_err(|e| {
                StoreError::Unavailable(format!("the thread that writes could not be started: {e}"))
            })?;
        Ok(Self {
            files: ArcSwapOption::from_pointee(files),
            queue,
            status,
            guard,
            committing: tokio::sync::Mutex::new(Some(committing)),
        })
    }

    fn files(&self) -> Result<Arc<Files>, StoreError> {
        self.files.load_full().ok_or_else(closed)
    }

    async fn enqueue_and_wait(&self, batch: Batch) -> Result<Revision, StoreError> {
        let slot = self.queue.slot(&batch).await.ok_or_else(|| self.status.why())?;
        let (reply, answer) = oneshot::channel();
        if !self.queue.push(Request { batch, reply: Some(reply), slot }) {
            return Err(self.status.why());
        }
        answer.await.unwrap_or_else(|_| Err(self.status.why()))
    }
}

#[async_trait::async_trait]
impl Store for SledStore {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.files()?.rows.get(table, key)
    }

    async fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        self.files()?.rows.scan(table, range, limit, direction)
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        match tokio::time::timeout(WRITE_DEADLINE, self.enqueue_and_wait(batch)).await {
            Ok(result) => result,
            Err(_) => Err(self.status.fail(hangs())),
        }
    }

    fn commit_later(&self, batch: Batch) -> Result<(), StoreError> {
        if !batch.expectations.is_empty() {
            return Err(StoreError::Corrupt(
                "a commit that nobody waits for cannot have expectations".into(),
            ));
        }
        if let Some(failure) = self.status.failure() {
            return Err(failure);
        }
        self.guard.check(0)?;
        let slot = self.queue.slot_now(&batch).ok_or_else(|| {
            StoreError::Unavailable(
                "more is to be written than the disk can take: a write was dropped".into(),
            )
        })?;
        match self.queue.push(Request { batch, reply: None, slot }) {
            true => Ok(()),
            false => Err(self.status.why()),
        }
    }

    async fn changes_since(&self, after: Revision, limit: usize) -> Result<Vec<LoggedChanges>, StoreError> {
        let durable = self.status.durable();
        self.files()?.changes.read(after, durable, limit)
    }

    fn visible(&self) -> Revision {
        self.status.durable()
    }

    fn trimmed(&self) -> Revision {
        self.status.trimmed()
    }

    fn latest(&self) -> watch::Receiver<Revision> {
        self.status.latest()
    }

    fn health(&self) -> Health {
        let writable = match self.status.failure() {
            Some(failure) => Err(failure),
            None if self.files.load().is_none() => Err(closed()),
            None => self.guard.check(self.status.lacking()),
        };
        match writable {
            Ok(()) => Health::Ready,
            Err(why) => Health::ReadOnly(why.to_string()),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.queue.close();
        if let Some(committing) = self.committing.lock().await.take() {
            // An error means that the thread has died, which the status says.
            if tokio::time::timeout(WRITE_DEADLINE, committing).await.is_err() {
                return Err(self.status.fail(hangs()));
            }
        }
        let Some(files) = self.files.swap(None) else { return Ok(()) };
        let mut rows = Arc::clone(&files.rows);
        drop(files);
        let deadline = tokio::time::Instant::now() + READERS_DEADLINE;
        loop {
            match Arc::try_unwrap(rows) {
                Ok(rows) => {
                    if self.status.failure().is_some() {
                        abandon(rows);
                        break;
                    }
                    // Closing the files may take a while, and a panic in it changes nothing that is durable.
                    let _ = tokio::task::spawn_blocking(move || drop(rows)).await;
                    break;
                }
                Err(shared) if tokio::time::Instant::now() < deadline => {
                    rows = shared;
                    tokio::task::yield_now().await;
                }
                Err(_) => break,
            }
        }
        match self.status.failure() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Lets go of trees that may not have been written: sled waits, as it is dropped, for what was written to be durable, which then
/// may be for ever. What they hold is in the redo log.
fn abandon(rows: impl Send + 'static) {
    let dropped = std::thread::Builder::new().name("registry-abandoned".into()).spawn(move || drop(rows));
    if let Err(error) = dropped {
        tracing::warn!(%error, "the registry's files are closed only with the process");
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it has been closed, the process is shutting down".into())
}

fn hangs() -> String {
    format!(
        "a write has not finished within {} s. Nothing more is written: check the disk, then restart jitp",
        WRITE_DEADLINE.as_secs()
    )
}

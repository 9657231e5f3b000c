//! The embedded engine: sled 0.34, one tree per table, group commit.
//!
//! One thread owns all writes (`committer`); readers read the trees directly and wait, if need be, until what they
//! have read is durable.
mod committer;
mod disk;
mod home;
mod overlay;
mod queue;
mod status;
#[cfg(test)]
mod tests;
mod trees;

pub(crate) use disk::{DiskGuard, free_bytes};

use super::{
    Batch, Direction, Key, KeyRange, LoggedChanges, Retention, Revision, Store, StoreError, Table, Versioned,
};
use crate::clock::Clock;
use crate::provisioner::Health;
use arc_swap::ArcSwapOption;
use committer::Committer;
use home::Home;
use queue::{Queue, Request};
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
    trees: ArcSwapOption<Trees>,
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
        let trees = Arc::new(Trees::open(home, options.cache_bytes)?);
        let queue = Arc::new(Queue::default());
        let (committer, status) = Committer::new(
            Arc::clone(&trees),
            Arc::clone(&queue),
            Arc::clone(&guard),
            options.retention,
            options.clock,
        )?;
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
            trees: ArcSwapOption::new(Some(trees)),
            queue,
            status,
            guard,
            committing: tokio::sync::Mutex::new(Some(committing)),
        })
    }

    fn trees(&self) -> Result<Arc<Trees>, StoreError> {
        self.trees.load_full().ok_or_else(closed)
    }

    /// Waits until the newest of what was read is durable: nobody acts on what a crash could take back.
    async fn durable(&self, newest: Revision) -> Result<(), StoreError> {
        if self.status.is_durable(newest) {
            return Ok(());
        }
        match tokio::time::timeout(WRITE_DEADLINE, self.status.wait_durable(newest)).await {
            Ok(result) => result,
            Err(_) => Err(self.status.fail(hangs())),
        }
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
        let row = self.trees()?.get(table, key)?;
        if let Some(row) = &row {
            self.durable(row.revision).await?;
        }
        Ok(row)
    }

    async fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Key, Versioned)>, StoreError> {
        let rows = self.trees()?.scan(table, range, limit, direction)?;
        let newest = rows.iter().map(|(_, row)| row.revision).max().unwrap_or_default();
        self.durable(newest).await?;
        Ok(rows)
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
        let rows = self.trees()?.changes(after, durable, limit)?;
        Ok(rows)
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
            None if self.trees.load().is_none() => Err(closed()),
            None => self.guard.check(0),
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
        let Some(mut trees) = self.trees.swap(None) else { return Ok(()) };
        let deadline = tokio::time::Instant::now() + READERS_DEADLINE;
        loop {
            match Arc::try_unwrap(trees) {
                Ok(trees) => {
                    // Closing the files may take a while, and a panic in it changes nothing that is durable.
                    let _ = tokio::task::spawn_blocking(move || drop(trees)).await;
                    break;
                }
                Err(shared) if tokio::time::Instant::now() < deadline => {
                    trees = shared;
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

fn closed() -> StoreError {
    StoreError::Unavailable("it has been closed, the process is shutting down".into())
}

fn hangs() -> String {
    format!(
        "a write has not finished within {} s. Nothing more is written: check the disk, then restart jitp",
        WRITE_DEADLINE.as_secs()
    )
}

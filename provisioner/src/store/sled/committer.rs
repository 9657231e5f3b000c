//! The one thread that writes: takes all waiting batches, decides each, writes the survivors to the redo log with one
//! sync, shows them to the readers, answers all, and then writes them into the trees.
use super::change_log::ChangeLog;
use super::checkpoint::{Checkpointer, checkpoint};
use super::disk::DiskGuard;
use super::group::Group;
use super::journal::{GROWTH, Journal};
use super::queue::{Queue, Request};
use super::recent::RecentWrites;
use super::rows::VisibleRows;
use super::status::Status;
use crate::clock::Clock;
use crate::store::{Batch, Cursor, Direction, Key, KeyRange, Retention, Revision, StoreError, Table};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Rows of the engine's own table.
const REVISION: &[u8] = b"revision";
const TRIMMED: &[u8] = b"trimmed";

/// Owns all writes.
pub(super) struct Committer {
    files: Files,
    journal: Journal,
    checkpointer: Checkpointer,
    /// What the other file of the redo log holds is not safe elsewhere.
    checkpoint_due: bool,
    queue: Arc<Queue>,
    guard: Arc<DiskGuard>,
    status: Arc<Status>,
    retention: Retention,
    clock: Arc<dyn Clock>,
    position: Position,
    recent: RecentWrites,
}

/// What is written after the redo log.
#[derive(Clone)]
pub(super) struct Files {
    pub rows: Arc<VisibleRows>,
    pub changes: Arc<ChangeLog>,
}

/// Where the registry stands.
#[derive(Debug, Clone, Default)]
struct Position {
    /// The last revision given.
    revision: Revision,
    /// The last one with changes.
    latest: Revision,
    /// Changes up to here are gone.
    trimmed: Revision,
    cursors: BTreeMap<Key, Cursor>,
}

type Reply = Option<oneshot::Sender<Result<Revision, StoreError>>>;
type Committed = Vec<(Reply, Revision)>;

impl Committer {
    /// Redoes what a crash has left in the redo log, and finds out where the registry stands.
    pub(super) fn new(
        files: Files,
        queue: Arc<Queue>,
        guard: Arc<DiskGuard>,
        retention: Retention,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Arc<Status>), StoreError> {
        let journal = files.redo()?;
        let position = files.position()?;
        files.changes.trim(position.trimmed)?;
        let status = Arc::new(Status::new(position.revision, position.latest, position.trimmed));
        let checkpointer =
            Checkpointer::new(Arc::clone(&files.rows), Arc::clone(&files.changes), Arc::clone(&status))?;
        let committer = Self {
            files,
            journal,
            checkpointer,
            checkpoint_due: false,
            queue,
            guard,
            status: Arc::clone(&status),
            retention,
            clock,
            recent: RecentWrites::after(position.revision),
            position,
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
            self.end();
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

    fn commit(&mut self, requests: Vec<Request>) {
        let weight: usize = requests.iter().map(|r| r.batch.weight()).sum();
        // Pages are rewritten around what is new, so more is written than was given.
        let bytes = 4 * weight as u64;
        let room = self.status.failure().map_or(Ok(()), Err).and_then(|()| self.guard.check(bytes));
        if let Err(why) = room {
            self.status.lacks(bytes);
            return answer_all(requests.into_iter().map(|r| r.reply), &why);
        }
        let before = self.position.clone();
        let (group, committed) = self.decide(requests);
        if committed.is_empty() {
            return;
        }
        if let Err(error) = self.journal.append(|entry| group.encode(entry)) {
            self.position = before;
            let why = self.not_written(&error, bytes);
            return answer_all(committed.into_iter().map(|(reply, _)| reply), &why);
        }
        self.status.lacks(0);
        self.recent.add(&group, before.revision, self.position.revision);
        if let Err(error) = self.show(group, committed).and_then(|()| self.write()) {
            self.status.fail(format!(
                "a write to {} failed ({error}). Nothing more is written; nothing is lost, it is done again at the next \
                 start: check the disk, then restart jitp",
                self.files.rows.trees().home().path().display()
            ));
        }
    }

    /// What of a group can be written. Conflicts are answered at once.
    fn decide(&mut self, requests: Vec<Request>) -> (Group, Committed) {
        let mut group = Group::default();
        let mut committed = Vec::with_capacity(requests.len());
        for Request { batch, reply, slot } in requests {
            let allowed =
                group.meets(&batch, &self.recent, self.files.rows.trees()).and_then(|meets| match meets {
                    true => self.position.take(&batch),
                    false => Err(StoreError::Conflict),
                });
            match allowed {
                Ok(()) => {
                    committed.push((reply, self.position.revision));
                    group.write(self.position.revision, batch);
                }
                Err(error) => answer(reply, Err(error)),
            }
            drop(slot);
        }
        self.trim(&mut group);
        let revision = self.position.revision;
        group.put(revision, Table::Engine, REVISION.to_vec(), Some(&revision.0.to_be_bytes()));
        (group, committed)
    }

    /// Lets the readers see a durable group and answers those who wait for it.
    fn show(&mut self, group: Group, committed: Committed) -> Result<(), StoreError> {
        let logged = self.files.changes.append(group.changes());
        let Position { revision, latest, trimmed, .. } = self.position;
        self.files.rows.show(group, || {
            if logged.is_ok() {
                self.status.advance(revision, latest, trimmed);
            }
            for (reply, revision) in committed {
                answer(reply, Ok(revision));
            }
        });
        logged
    }

    /// Writes what is shown into the trees, and sees to it that there is room in the redo log.
    fn write(&mut self) -> Result<(), StoreError> {
        self.files.rows.write()?;
        self.files.changes.trim(self.position.trimmed)?;
        if self.journal.is_full() {
            self.begin_checkpoint();
            self.checkpointer.wait()?;
            self.journal.switch();
            self.files.rows.sessions().age();
            self.checkpoint_due = true;
        } else if self.journal.is_half_full() {
            self.begin_checkpoint();
        }
        Ok(())
    }

    /// Of what the other file of the redo log holds, unless that has been done.
    fn begin_checkpoint(&mut self) {
        if std::mem::take(&mut self.checkpoint_due) {
            self.files.rows.sessions().seal();
            self.checkpointer.begin();
        }
    }

    /// Old changes go, by segments.
    fn trim(&mut self, group: &mut Group) {
        let wanted =
            self.retention.trim_up_to(self.position.latest, self.position.cursors.values(), self.clock.now());
        if wanted <= self.position.trimmed {
            return;
        }
        if let Some(trimmed) = self.files.changes.trimmable(wanted) {
            self.position.trimmed = trimmed;
            let revision = self.position.revision;
            group.put(revision, Table::Engine, TRIMMED.to_vec(), Some(&trimmed.0.to_be_bytes()));
        }
    }

    /// A full disk may have room again; after any other error nobody knows what is on it.
    fn not_written(&self, error: &io::Error, bytes: u64) -> StoreError {
        let path = self.files.rows.trees().home().path().display();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.status.lacks(bytes.max(GROWTH as u64));
                StoreError::Unavailable(format!(
                    "the disk that holds {path} is full ({error}): make room; writing goes on by itself then"
                ))
            }
            _ => self.status.fail(format!(
                "a write to {path} failed ({error}). Nothing more is written, so that nothing is half-written: check \
                 the disk, then restart jitp"
            )),
        }
    }

    /// With everything in the trees, the next start has nothing to redo.
    fn end(mut self) {
        let ended = self.checkpointer.wait().and_then(|()| match self.status.failure() {
            Some(failure) => Err(failure),
            None => self.files.settle(&mut self.journal),
        });
        if let Err(error) = ended {
            tracing::warn!(%error, "the registry was not closed in order; the next start will redo what is missing");
        }
    }
}

impl Files {
    /// Applies what the redo log holds.
    fn redo(&self) -> Result<Journal, StoreError> {
        let trees = self.rows.trees();
        let before = position(trees, REVISION)?;
        let mut redone = 0_u64;
        let mut journal = Journal::open(&trees.home().journal()?, |bytes| {
            let group = Group::decode(bytes).ok_or_else(|| {
                damaged(trees, "its redo log holds something that this program did not write")
            })?;
            trees.apply(&group)?;
            self.rows.sessions().add(group.sessions(), || {});
            self.changes.append(group.changes())?;
            redone += 1;
            Ok(())
        })?;
        if redone > 0 {
            let after = position(trees, REVISION)?;
            if before > after {
                return Err(damaged(
                    trees,
                    &format!("its redo log ends at revision {after}, but it had come to {before}"),
                ));
            }
            tracing::info!(groups = redone, revision = after.0, "what was in the redo log was done again");
            self.settle(&mut journal)?;
        }
        Ok(journal)
    }
    /// Brings everything to safety and empties the redo log.
    fn settle(&self, journal: &mut Journal) -> Result<(), StoreError> {
        self.rows.sessions().seal_all();
        checkpoint(&self.rows, &self.changes)?;
        journal.clear()
    }
    fn position(&self) -> Result<Position, StoreError> {
        let trees = self.rows.trees();
        let revision = position(trees, REVISION)?;
        let trimmed = position(trees, TRIMMED)?;
        let latest = self.changes.last().max(trimmed);
        if latest > revision {
            return Err(damaged(
                trees,
                &format!("its change log is at {latest}, but its revision is {revision}"),
            ));
        }
        let mut cursors = BTreeMap::new();
        for row in trees.scan(Table::Cursors, &KeyRange::prefix(b""), Direction::Ascending) {
            let (key, row) = row?;
            let cursor = Cursor::decode(&key, &row.value)?;
            cursors.insert(key, cursor);
        }
        Ok(Position { revision, latest, trimmed, cursors })
    }
}

impl Position {
    /// Gives a batch the next revision.
    fn take(&mut self, batch: &Batch) -> Result<(), StoreError> {
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
        self.revision.0 += 1;
        if batch.changes.is_some() {
            self.latest = self.revision;
        }
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

fn answer_all(replies: impl Iterator<Item = Reply>, why: &StoreError) {
    for reply in replies {
        answer(reply, Err(why.clone()));
    }
}

fn position(trees: &super::trees::Trees, key: &[u8]) -> Result<Revision, StoreError> {
    let Some(row) = trees.get(Table::Engine, key)? else { return Ok(Revision(0)) };
    let bytes = row.value.as_slice().try_into();
    let bytes: [u8; 8] = bytes.map_err(|_| {
        damaged(trees, &format!("its row {:?} is not a number", String::from_utf8_lossy(key)))
    })?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

fn damaged(trees: &super::trees::Trees, why: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "the registry in {} is damaged: {why}; restore a backup of the directory",
        trees.home().path().display()
    ))
}

//! The change log on disk: one entry a commit, numbered by its revision, in segments that are deleted as a whole. The
//! newest entries are in memory as well, because nearly all who read it are near its end.
//!
//! Not durable before [`ChangeLog::sync`]: the redo log holds what was not synced yet.
use super::frame;
use super::home::private;
use crate::store::{LoggedChanges, Revision, StoreError};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of the newest entries that are kept in memory.
const RECENT: usize = 2 * 1024 * 1024;

/// The change log.
pub(super) struct ChangeLog {
    directory: PathBuf,
    /// A new segment is begun when one has so many bytes.
    segment_bytes: u64,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The first revision of each segment, which is its file's name.
    segments: BTreeSet<u64>,
    /// The newest segment.
    file: Option<Arc<File>>,
    written: u64,
    /// The last entry's.
    last: Revision,
    recent: Recent,
}

/// The newest entries.
#[derive(Default)]
struct Recent {
    entries: VecDeque<LoggedChanges>,
    bytes: usize,
    /// Every entry after this one is here.
    after: Revision,
}

impl ChangeLog {
    /// Opens, or creates. An entry that was not written whole is cut off: the redo log has it.
    pub(super) fn open(directory: &Path, segment_bytes: u64) -> Result<Self, StoreError> {
        let failed = |e: io::Error| failed(directory, "opened", &e);
        let mut segments = BTreeSet::new();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            if let Some(first) = first_revision(&entry.map_err(failed)?.path()) {
                segments.insert(first);
            }
        }
        let log = Self {
            directory: directory.to_path_buf(),
            segment_bytes,
            inner: Mutex::new(Inner {
                segments,
                file: None,
                written: 0,
                last: Revision(0),
                recent: Recent::default(),
            }),
        };
        log.reopen_newest().map_err(failed)?;
        Ok(log)
    }
    /// The last entry's revision; 0 when there is none.
    pub(super) fn last(&self) -> Revision {
        self.inner.lock().last
    }
    /// Appends what is newer than the last entry.
    pub(super) fn append(&self, changes: &[(Revision, Vec<u8>)]) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let last = inner.last;
        let newer: Vec<_> = changes.iter().filter(|(revision, _)| *revision > last).collect();
        let Some((first, _)) = newer.first() else { return Ok(()) };
        self.append_all(&mut inner, *first, &newer).map_err(|e| failed(&self.directory, "written", &e))
    }
    /// Entries after a revision and up to one, at most `limit`.
    pub(super) fn read(
        &self,
        after: Revision,
        up_to: Revision,
        limit: usize,
    ) -> Result<Vec<LoggedChanges>, StoreError> {
        let segments: Vec<u64> = {
            let inner = self.inner.lock();
            if after >= inner.recent.after {
                return Ok(inner.recent.read(after, up_to, limit));
            }
            let from = inner.segments.range(..=after.0 + 1).next_back().copied().unwrap_or_default();
            inner.segments.range(from..=up_to.0).copied().collect()
        };
        let mut found = Vec::new();
        for first in segments {
            if found.len() >= limit {
                break;
            }
            let path = self.segment(first);
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed(&path, "read", &e)),
            };
            let mut entries = frame::entries(&bytes);
            let wanted = entries.by_ref().filter(|(revision, _)| (after.0 + 1..=up_to.0).contains(revision));
            found.extend(wanted.take(limit - found.len()).map(|(revision, changes)| LoggedChanges {
                revision: Revision(revision),
                changes: changes.to_vec(),
            }));
            let newest = self.inner.lock().segments.last() == Some(&first);
            if found.len() < limit && !newest && entries.whole() < bytes.len() {
                return Err(StoreError::Corrupt(format!(
                    "{} is damaged at byte {}: restore a backup of the directory",
                    path.display(),
                    entries.whole()
                )));
            }
        }
        Ok(found)
    }
    /// Up to which revision whole segments can be deleted, if all up to `wanted` may go.
    pub(super) fn trimmable(&self, wanted: Revision) -> Option<Revision> {
        let inner = self.inner.lock();
        let next = inner.segments.range(..=wanted.0.saturating_add(1)).next_back()?;
        let oldest = inner.segments.first()?;
        (next > oldest).then(|| Revision(next - 1))
    }
    /// Deletes the segments that have nothing after a revision.
    pub(super) fn trim(&self, up_to: Revision) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        while let (Some(oldest), Some(next)) =
            (inner.segments.first().copied(), inner.segments.iter().nth(1).copied())
        {
            if next > up_to.0 + 1 {
                break;
            }
            inner.segments.remove(&oldest);
            inner.recent.forget(Revision(next - 1));
            let path = self.segment(oldest);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&path, "deleted", &e)),
                _ => {}
            }
        }
        Ok(())
    }
    /// All entries so far are on disk when it returns.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let newest = self.inner.lock().file.clone();
        newest.map_or(Ok(()), |f| f.sync_data()).map_err(|e| failed(&self.directory, "written", &e))
    }

    fn append_all(
        &self,
        inner: &mut Inner,
        first: Revision,
        newer: &[&(Revision, Vec<u8>)],
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (revision, changes) in newer {
            frame::append(&mut bytes, revision.0, changes)?;
        }
        let mut file = match &inner.file {
            Some(file) if inner.written < self.segment_bytes => Arc::clone(file),
            full => {
                if let Some(full) = full {
                    full.sync_data()?;
                }
                let file = Arc::new(private().create_new(true).open(self.segment(first.0))?);
                File::open(&self.directory)?.sync_all()?;
                inner.segments.insert(first.0);
                inner.file = Some(Arc::clone(&file));
                inner.written = 0;
                file
            }
        };
        file.write_all(&bytes)?;
        inner.written += bytes.len() as u64;
        for (revision, changes) in newer {
            inner.last = *revision;
            inner.recent.push(LoggedChanges { revision: *revision, changes: changes.clone() });
        }
        Ok(())
    }
    fn reopen_newest(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let Some(newest) = inner.segments.last().copied() else { return Ok(()) };
        let path = self.segment(newest);
        let bytes = std::fs::read(&path)?;
        let mut entries = frame::entries(&bytes);
        let last = entries.by_ref().last().map_or(newest.saturating_sub(1), |(revision, _)| revision);
        let file = std::fs::OpenOptions::new().append(true).open(&path)?;
        file.set_len(entries.whole() as u64)?;
        inner.written = entries.whole() as u64;
        inner.file = Some(Arc::new(file));
        inner.last = Revision(last);
        inner.recent.after = Revision(last);
        Ok(())
    }
    fn segment(&self, first: u64) -> PathBuf {
        self.directory.join(format!("{first:020}.log"))
    }
}

impl Recent {
    fn push(&mut self, entry: LoggedChanges) {
        self.bytes += entry.changes.len();
        self.entries.push_back(entry);
        while self.bytes > RECENT && self.forget_oldest() {}
    }
    fn forget(&mut self, up_to: Revision) {
        while self.entries.front().is_some_and(|e| e.revision <= up_to) && self.forget_oldest() {}
    }
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.pop_front() else { return false };
        self.bytes -= oldest.changes.len();
        self.after = oldest.revision;
        true
    }
    fn read(&self, after: Revision, up_to: Revision, limit: usize) -> Vec<LoggedChanges> {
        let start = self.entries.partition_point(|e| e.revision <= after);
        self.entries.iter().skip(start).take_while(|e| e.revision <= up_to).take(limit).cloned().collect()
    }
}

fn first_revision(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    name.parse().ok()
}

fn failed(path: &Path, done: &str, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("the change log {} could not be {done}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn entry(revision: u64) -> (Revision, Vec<u8>) {
        (Revision(revision), format!("change {revision}").into_bytes())
    }
    fn revisions(log: &ChangeLog, after: u64, limit: usize) -> Vec<u64> {
        let found = log.read(Revision(after), Revision(u64::MAX - 1), limit).unwrap();
        assert!(found.iter().all(|e| e.changes == format!("change {}", e.revision).as_bytes()));
        found.iter().map(|e| e.revision.0).collect()
    }
    fn filled(dir: &TempDir) -> ChangeLog {
        let log = ChangeLog::open(dir.path(), 60).unwrap();
        for revision in [1, 2, 4, 5, 7, 8, 9] {
            log.append(&[entry(revision)]).unwrap();
        }
        log
    }

    #[test]
    fn entries_are_read_from_memory_and_from_the_files_alike() {
        let dir = TempDir::new().unwrap();
        let log = filled(&dir);
        let reopened = ChangeLog::open(dir.path(), 60).unwrap();
        for log in [&log, &reopened] {
            assert_eq!(log.last(), Revision(9));
            for (after, limit, expected) in [
                (0, 100, vec![1, 2, 4, 5, 7, 8, 9]),
                (0, 3, vec![1, 2, 4]),
                (2, 2, vec![4, 5]),
                (3, 2, vec![4, 5]),
                (5, 100, vec![7, 8, 9]),
                (9, 100, vec![]),
            ] {
                assert_eq!(revisions(log, after, limit), expected, "after {after}, {limit} at most");
            }
            assert_eq!(log.read(Revision(1), Revision(5), 9).unwrap().len(), 3);
        }
    }

    #[test]
    fn an_entry_that_is_there_already_is_not_appended_again() {
        let dir = TempDir::new().unwrap();
        filled(&dir);
        let log = ChangeLog::open(dir.path(), 60).unwrap();
        log.append(&[entry(8), entry(9), entry(10)]).unwrap();
        assert_eq!(revisions(&log, 7, 100), [8, 9, 10]);
        assert_eq!(revisions(&log, 9, 100), [10]);
    }

    #[test]
    fn a_torn_end_is_cut_off_and_written_again() {
        let dir = TempDir::new().unwrap();
        filled(&dir);
        let newest = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).max().unwrap();
        let whole = std::fs::metadata(&newest).unwrap().len();
        File::options().write(true).open(&newest).unwrap().set_len(whole - 1).unwrap();
        let log = ChangeLog::open(dir.path(), 60).unwrap();
        assert_eq!(log.last(), Revision(8));
        log.append(&[entry(8), entry(9)]).unwrap();
        assert_eq!(revisions(&log, 5, 100), [7, 8, 9]);
    }

    #[test]
    fn damage_before_the_newest_segment_is_said_to_be_damage() {
        let dir = TempDir::new().unwrap();
        filled(&dir);
        let oldest = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).min().unwrap();
        let mut bytes = std::fs::read(&oldest).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&oldest, bytes).unwrap();
        let log = ChangeLog::open(dir.path(), 60).unwrap();
        let Err(StoreError::Corrupt(why)) = log.read(Revision(0), Revision(99), 99) else { panic!("read") };
        assert!(why.contains("is damaged at byte"), "{why}");
    }

    #[test]
    fn whole_segments_go_and_never_what_is_still_wanted() {
        let dir = TempDir::new().unwrap();
        let log = filled(&dir);
        assert_eq!(log.trimmable(Revision(1)), None);
        let up_to = log.trimmable(Revision(6)).unwrap();
        assert!(up_to <= Revision(6));
        log.trim(up_to).unwrap();
        let kept = revisions(&ChangeLog::open(dir.path(), 60).unwrap(), 0, 100);
        assert!(kept.len() < 7 && kept.ends_with(&[7, 8, 9]), "{kept:?}");
        assert_eq!(log.trimmable(up_to), None);
        log.trim(Revision(1_000)).unwrap();
        log.append(&[entry(10)]).unwrap();
        assert!(revisions(&log, 8, 100).ends_with(&[10]), "the newest segment stays");
    }
}

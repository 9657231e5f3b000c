//! The redo log: a group is durable here, in one write and one sync, before anything else of the registry changes.
//!
//! Two files take turns. When one is full the other is written, and when that is half full, all that the full one holds is
//! brought to safety in the trees and the change log (a checkpoint); only then is it written anew from its start. After a crash, what both hold is
//! applied again, in order: doing it twice changes nothing.
use super::frame;
use super::home::private;
use crate::store::StoreError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file is full with so many bytes. Bounds the disk space, and what has to be done again after a crash.
const FULL: u64 = 16 * 1024 * 1024;
/// A file grows by so much at once: a sync that has no new length to write down is the quicker one.
pub(super) const GROWTH: usize = 256 * 1024;
/// Memory that is kept from one entry to the next, in bytes.
const KEPT: usize = 4 * 1024 * 1024;

/// The redo log.
pub(super) struct Journal {
    active: JournalFile,
    spare: JournalFile,
    /// Of the next group.
    number: u64,
    /// Memory for the next entry.
    entry: Vec<u8>,
}

struct JournalFile {
    path: PathBuf,
    file: File,
    /// Where the next entry goes.
    end: u64,
    /// Bytes of the file, of which those after `end` say nothing.
    length: u64,
}

impl Journal {
    /// Opens, or creates, the two files and hands every group in them to `redo`, oldest first. If there was any, they must
    /// be cleared before anything is appended.
    pub(super) fn open(
        directory: &Path,
        mut redo: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let (mut older_file, mut older) = JournalFile::open(directory.join("1.log"))?;
        let (mut newer_file, mut newer) = JournalFile::open(directory.join("2.log"))?;
        if Run::of(&older).start > Run::of(&newer).start {
            std::mem::swap(&mut older_file, &mut newer_file);
            std::mem::swap(&mut older, &mut newer);
        }
        let (older, newer) = (Run::of(&older), Run::of(&newer));
        if !older.groups.is_empty() && !newer.groups.is_empty() && older.end() != newer.start {
            return Err(StoreError::Corrupt(format!(
                "the redo log in {} is damaged: after group {} comes group {}; restore a backup of the directory",
                directory.display(),
                older.end() - 1,
                newer.start
            )));
        }
        let number = older.end().max(newer.end());
        for group in older.groups.into_iter().chain(newer.groups) {
            redo(group)?;
        }
        Ok(Self { active: newer_file, spare: older_file, number, entry: Vec::new() })
    }
    /// A group, as `write` appends it; durable when it returns. After an error nothing of it counts, and the next one takes
    /// its place.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.entry.clear();
        self.entry.shrink_to(KEPT);
        frame::append_with(&mut self.entry, self.number, write)?;
        self.active.append(&mut self.entry)?;
        self.number += 1;
        Ok(())
    }
    pub(super) fn is_full(&self) -> bool {
        self.active.end >= FULL
    }
    /// Is it time to bring what the other file holds to safety? Early enough, and as late as can be: most of what sessions
    /// write is deleted soon.
    pub(super) fn is_half_full(&self) -> bool {
        self.active.end >= FULL / 2
    }
    /// Goes on in the other file, from its start. All that is in there must be safe elsewhere.
    pub(super) fn switch(&mut self) {
        std::mem::swap(&mut self.active, &mut self.spare);
        self.active.end = 0;
    }
    /// Empties both files, the older one first: what is left after a crash in between still ends where it ended. All that
    /// is in there must be safe elsewhere.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        for file in [&mut self.spare, &mut self.active] {
            file.clear().map_err(|e| file.failed("emptied", &e))?;
        }
        Ok(())
    }
}

impl JournalFile {
    fn open(path: PathBuf) -> Result<(Self, Vec<u8>), StoreError> {
        let failed = |e: io::Error| {
            StoreError::Unavailable(format!("{} could not be opened and read: {e}", path.display()))
        };
        let file = private().open(&path).map_err(failed)?;
        let bytes = std::fs::read(&path).map_err(failed)?;
        let length = bytes.len() as u64;
        Ok((Self { path, file, end: 0, length }, bytes))
    }
    fn append(&mut self, entry: &mut Vec<u8>) -> io::Result<()> {
        let end = self.end + entry.len() as u64;
        if end > self.length {
            entry.resize(entry.len().next_multiple_of(GROWTH), 0);
        }
        self.file.write_all_at(entry, self.end)?;
        self.file.sync_data()?;
        self.length = self.length.max(self.end + entry.len() as u64);
        self.end = end;
        Ok(())
    }
    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_data()?;
        (self.end, self.length) = (0, 0);
        Ok(())
    }
    fn failed(&self, done: &str, error: &io::Error) -> StoreError {
        StoreError::Unavailable(format!("{} could not be {done}: {error}", self.path.display()))
    }
}

/// The groups of one file whose numbers follow each other.
struct Run<'a> {
    start: u64,
    groups: Vec<&'a [u8]>,
}

impl<'a> Run<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut run = Self { start: 0, groups: Vec::new() };
        for (number, group) in frame::entries(bytes) {
            if run.groups.is_empty() {
                run.start = number;
            }
            if number != run.end() {
                break;
            }
            run.groups.push(group);
        }
        run
    }
    /// The number after the last; 0 when there is none.
    fn end(&self) -> u64 {
        self.start + self.groups.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn reopen(dir: &TempDir) -> Result<(Journal, Vec<Vec<u8>>), StoreError> {
        let mut redone = Vec::new();
        let journal = Journal::open(dir.path(), |group| {
            redone.push(group.to_vec());
            Ok(())
        })?;
        Ok((journal, redone))
    }
    fn append(journal: &mut Journal, group: &[u8]) {
        journal.append(|entry| entry.extend_from_slice(group)).unwrap();
    }
    fn texts(groups: &[Vec<u8>]) -> Vec<String> {
        groups.iter().map(|g| String::from_utf8_lossy(g).into_owned()).collect()
    }

    #[test]
    fn what_was_appended_is_redone_in_order_across_both_files_until_it_is_cleared() {
        let dir = TempDir::new().unwrap();
        let (mut journal, redone) = reopen(&dir).unwrap();
        assert!(redone.is_empty());
        for group in ["a", "b"] {
            append(&mut journal, group.as_bytes());
        }
        journal.switch();
        append(&mut journal, b"c");
        let (_, redone) = reopen(&dir).unwrap();
        assert_eq!(texts(&redone), ["a", "b", "c"]);
        journal.switch();
        append(&mut journal, b"d");
        let (mut journal, redone) = reopen(&dir).unwrap();
        assert_eq!(texts(&redone), ["c", "d"], "what was written over is gone, and what follows it is stale");
        journal.spare.clear().unwrap();
        let (mut journal, redone) = reopen(&dir).unwrap();
        assert_eq!(texts(&redone), ["d"], "a crash while it is emptied leaves the newer groups");
        journal.clear().unwrap();
        append(&mut journal, b"e");
        let (_, redone) = reopen(&dir).unwrap();
        assert_eq!(texts(&redone), ["e"]);
    }

    #[test]
    fn a_torn_last_group_does_not_count_and_its_place_is_taken() {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = reopen(&dir).unwrap();
        append(&mut journal, b"whole");
        let torn_at = journal.active.end;
        append(&mut journal, b"torn");
        journal.active.file.write_all_at(b"?", torn_at + 17).unwrap();
        let (_, redone) = reopen(&dir).unwrap();
        assert_eq!(texts(&redone), ["whole"]);
        journal.active.end = torn_at;
        journal.number -= 1;
        append(&mut journal, b"next");
        let (_, redone) = reopen(&dir).unwrap();
        assert_eq!(texts(&redone), ["whole", "next"]);
    }

    #[test]
    fn a_gap_between_the_files_is_damage() {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = reopen(&dir).unwrap();
        for group in ["a", "b"] {
            append(&mut journal, group.as_bytes());
        }
        let damaged = journal.active.end - 1;
        journal.active.file.write_all_at(b"?", damaged).unwrap();
        journal.switch();
        append(&mut journal, b"c");
        let Err(StoreError::Corrupt(why)) = reopen(&dir) else { panic!("opened") };
        assert!(why.contains("after group 0 comes group 2") && why.contains("backup"), "{why}");
    }

    #[test]
    fn a_full_file_is_said_to_be_full_and_grows_in_steps() {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = reopen(&dir).unwrap();
        let group = vec![7; 1024 * 1024];
        for _ in 0..15 {
            append(&mut journal, &group);
            assert!(!journal.is_full());
        }
        append(&mut journal, &group);
        assert!(journal.is_full());
        let length = journal.active.file.metadata().unwrap().len();
        assert!(length >= journal.active.end && length < journal.active.end + 2 * GROWTH as u64, "{length}");
        let (_, redone) = reopen(&dir).unwrap();
        assert_eq!(redone.len(), 16);
    }
}

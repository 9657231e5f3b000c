//! Which keys the tables may have that are asked for what is not there: a device's first connection looks for its
//! certificate and its thing before it makes them. A filter answers that without a walk through a tree.
//!
//! It is made again at a start from its file, `registry/known-keys`. A checkpoint appends what is new before the redo log
//! may forget it, so that the file and what is redone always cover the trees.
use super::frame;
use super::home::private;
use super::key_filter::{Fingerprint, KeyFilter};
use crate::store::{StoreError, Table};
use aws_lc_rs::digest;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Tables that it knows the keys of.
pub(super) const FOLLOWED: [Table; 2] = [Table::Certificates, Table::Things];

/// The keys, and where they are saved.
pub(super) struct KnownKeys {
    filter: KeyFilter,
    unsaved: Mutex<Entry>,
    file: Mutex<KeysFile>,
}

/// What an entry of the file says: rows that were deleted since the one before, and keys that are new since.
#[derive(Default)]
struct Entry {
    removed: u32,
    new: Vec<Fingerprint>,
}

struct KeysFile {
    path: PathBuf,
    file: File,
    /// The last entry's; 0 before the first.
    number: u64,
}

impl KnownKeys {
    /// From the file, if it has every entry up to this one, and not mostly keys that are gone. `None`: it must be made anew.
    pub(super) fn open(path: &Path, up_to: u64) -> Result<Option<Self>, StoreError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(path, "read", &e)),
        };
        let mut saved = Saved::of(&bytes);
        if up_to == 0 || saved.number < up_to || saved.removed > saved.keys.len() as u64 / 2 {
            return Ok(None);
        }
        let opened = private().open(path).and_then(|file| {
            // What a crash has left half-written would be in the way of the next entry.
            file.set_len(saved.whole as u64)?;
            std::io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
            Ok(file)
        });
        let file = opened.map_err(|e| failed(path, "opened", &e))?;
        let filter = KeyFilter::default();
        for key in saved.keys.drain(..) {
            filter.add(key);
        }
        let file = KeysFile { path: path.to_path_buf(), file, number: saved.number };
        Ok(Some(Self { filter, unsaved: Mutex::default(), file: Mutex::new(file) }))
    }

    /// With these keys, in a file that takes the place of the one before; its first entry has this number.
    pub(super) fn make(
        path: &Path,
        number: u64,
        keys: impl Iterator<Item = Result<Fingerprint, StoreError>>,
    ) -> Result<Self, StoreError> {
        let filter = KeyFilter::default();
        let mut entry = Entry::default();
        for key in keys {
            let key = key?;
            if filter.add(key) {
                entry.new.push(key);
            }
        }
        let file = KeysFile::create(path, number, &entry).map_err(|e| failed(path, "written", &e))?;
        Ok(Self { filter, unsaved: Mutex::default(), file: Mutex::new(file) })
    }

    /// `false`: the table has no such row.
    pub(super) fn may_have(&self, table: Table, key: &[u8]) -> bool {
        !FOLLOWED.contains(&table) || self.filter.may_have(fingerprint(table, key))
    }
    /// Of a row that is about to be written.
    pub(super) fn add(&self, table: Table, key: &[u8]) {
        if !FOLLOWED.contains(&table) {
            return;
        }
        let key = fingerprint(table, key);
        if self.filter.add(key) {
            self.unsaved.lock().new.push(key);
        }
    }
    /// A row is gone. Its key stays, until so many are that the next start makes the file anew.
    pub(super) fn remove(&self, table: Table) {
        if FOLLOWED.contains(&table) {
            let removed = &mut self.unsaved.lock().removed;
            *removed = removed.saturating_add(1);
        }
    }
    /// Brings every key so far to the disk. The number of the last entry: what [`open`](Self::open) must find.
    pub(super) fn save(&self) -> Result<u64, StoreError> {
        let mut file = self.file.lock();
        let entry = std::mem::take(&mut *self.unsaved.lock());
        if !entry.new.is_empty() || entry.removed > 0 {
            file.append(&entry).map_err(|e| failed(&file.path, "written", &e))?;
        }
        Ok(file.number)
    }
}

/// The key of a row as the filter knows it. Never changes: it is in files.
pub(super) fn fingerprint(table: Table, key: &[u8]) -> Fingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(table.name().as_bytes());
    context.update(&[0]);
    context.update(key);
    let hash = context.finish();
    Fingerprint(hash.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

impl Entry {
    /// The number of deleted rows (4 bytes), then the new keys (8 bytes each); big endian.
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.removed.to_be_bytes());
        bytes.extend(self.new.iter().flat_map(|key| key.0.to_be_bytes()));
    }
}

impl KeysFile {
    fn create(path: &Path, number: u64, entry: &Entry) -> io::Result<Self> {
        let unfinished = path.with_extension("new");
        let file = private().truncate(true).open(&unfinished)?;
        let mut created = Self { path: path.to_path_buf(), file, number: number - 1 };
        created.append(entry)?;
        std::fs::rename(&unfinished, path)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(created)
    }
    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::append_with(&mut bytes, self.number + 1, |bytes| entry.encode(bytes))?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.number += 1;
        Ok(())
    }
}

/// What a file says, up to the first entry that is not whole.
#[derive(Default)]
struct Saved {
    number: u64,
    removed: u64,
    keys: Vec<Fingerprint>,
    /// Bytes of it.
    whole: usize,
}

impl Saved {
    fn of(bytes: &[u8]) -> Self {
        let mut saved = Self::default();
        let mut entries = frame::entries(bytes);
        while let Some((number, entry)) = entries.next() {
            let follows = saved.whole == 0 || number == saved.number + 1;
            let Some((removed, keys)) = entry.split_first_chunk::<4>().filter(|_| follows) else { break };
            let (keys, rest) = keys.as_chunks::<8>();
            if !rest.is_empty() {
                break;
            }
            saved.keys.extend(keys.iter().map(|key| Fingerprint(u64::from_be_bytes(*key))));
            saved.removed += u64::from(u32::from_be_bytes(*removed));
            (saved.number, saved.whole) = (number, entries.whole());
        }
        saved
    }
}

fn failed(path: &Path, done: &str, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{} could not be {done}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn empty(path: &Path) -> KnownKeys {
        KnownKeys::make(path, 1, std::iter::empty()).unwrap()
    }
    fn knows(keys: &KnownKeys, key: &str) -> bool {
        keys.may_have(Table::Things, key.as_bytes())
    }
    fn add(keys: &KnownKeys, key: &str) {
        keys.add(Table::Things, key.as_bytes());
    }

    #[test]
    fn what_was_saved_is_known_after_a_start_and_what_a_crash_tore_is_not_in_the_way() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("known-keys");
        assert!(KnownKeys::open(&path, 0).unwrap().is_none(), "there is none yet");
        let keys = empty(&path);
        assert_eq!(keys.save().unwrap(), 1, "nothing is new");
        add(&keys, "a");
        add(&keys, "a");
        assert!(knows(&keys, "a") && !knows(&keys, "b"));
        assert!(!keys.may_have(Table::Certificates, b"a"), "a table's keys are its own");
        assert!(keys.may_have(Table::Policies, b"a"), "of other tables it knows nothing");
        assert_eq!(keys.save().unwrap(), 2);
        drop(keys);
        private().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        let keys = KnownKeys::open(&path, 2).unwrap().unwrap();
        assert!(knows(&keys, "a") && !knows(&keys, "b"));
        add(&keys, "b");
        assert_eq!(keys.save().unwrap(), 3);
        let keys = KnownKeys::open(&path, 2).unwrap().expect("more than it must have is no harm");
        assert!(knows(&keys, "a") && knows(&keys, "b"));
    }

    #[test]
    fn a_file_that_lacks_something_is_not_used() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("known-keys");
        let keys = empty(&path);
        for key in ["a", "b", "c"] {
            add(&keys, key);
            keys.save().unwrap();
        }
        assert!(KnownKeys::open(&path, 4).unwrap().is_some());
        assert!(KnownKeys::open(&path, 5).unwrap().is_none());
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(KnownKeys::open(&path, 4).unwrap().is_none(), "damaged at {at}");
        }
    }

    #[test]
    fn a_file_of_keys_that_are_gone_is_made_anew_and_goes_on_counting() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("known-keys");
        let keys = empty(&path);
        for key in 0..10 {
            add(&keys, &key.to_string());
        }
        for _ in 0..5 {
            keys.remove(Table::Things);
            keys.remove(Table::Policies);
        }
        assert_eq!(keys.save().unwrap(), 2);
        assert!(KnownKeys::open(&path, 2).unwrap().is_some());
        keys.remove(Table::Things);
        assert_eq!(keys.save().unwrap(), 3);
        assert!(KnownKeys::open(&path, 3).unwrap().is_none());
        let left = (6..10).map(|key| Ok(fingerprint(Table::Things, key.to_string().as_bytes())));
        let keys = KnownKeys::make(&path, 4, left).unwrap();
        assert!(knows(&keys, "6") && !knows(&keys, "5"));
        assert!(KnownKeys::open(&path, 4).unwrap().is_some());
    }
}

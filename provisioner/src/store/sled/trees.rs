//! The trees on disk. A value is the revision that wrote it (8 bytes, big endian) and the bytes.
use super::group::Group;
use super::home::Home;
use crate::store::{Direction, Key, KeyRange, Revision, StoreError, Table, Versioned};
use ::sled::{Db, IVec, Mode, Tree};
use std::fs::File;
use std::time::{Duration, Instant};

/// sled lets go of its files a moment after it is dropped. The directory's own lock is held by then, so only sled's
/// remains of this process can be in the way.
const REMAINS_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a segment of sled's log. Larger than sled's own 512 kB: fewer buffers to hand over, and less of the file is
/// garbage.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// One tree per table.
pub(super) struct Trees {
    trees: Vec<Tree>,
    db: Db,
    /// sled's one file. Its own flush hands the bytes to the operating system, which a killed process survives; that they
    /// survive a power cut takes a sync of the file.
    file: File,
    home: Home,
}

impl Trees {
    pub(super) fn open(home: Home, cache_bytes: u64) -> Result<Self, StoreError> {
        let config = ::sled::Config::new()
            .path(home.engine())
            .cache_capacity(cache_bytes.max(1024 * 1024))
            .segment_size(SEGMENT_BYTES)
            .mode(Mode::HighThroughput)
            .flush_every_ms(None);
        let until = Instant::now() + REMAINS_PATIENCE;
        let db = loop {
            match config.open() {
                Ok(db) => break db,
                Err(::sled::Error::Io(e)) if is_lock(&e) && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(e) => {
                    return Err(StoreError::Corrupt(format!(
                        "the registry in {} cannot be opened: {e}",
                        home.path().display()
                    )));
                }
            }
        };
        let trees = Table::ALL
            .iter()
            .map(|table| db.open_tree(table.name()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let file = File::open(home.engine().join("db")).map_err(|e| failed(::sled::Error::Io(e)))?;
        Ok(Self { trees, db, file, home })
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        match self.tree(table).get(key).map_err(failed)? {
            Some(stored) => Ok(Some(versioned(table, key, &stored)?)),
            None => Ok(None),
        }
    }
    /// The revision that wrote a row.
    pub(super) fn revision(&self, table: Table, key: &[u8]) -> Result<Option<Revision>, StoreError> {
        match self.tree(table).get(key).map_err(failed)? {
            Some(stored) => Ok(Some(split(table, key, &stored)?.0)),
            None => Ok(None),
        }
    }
    /// Rows of a range, in key order or against it.
    pub(super) fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
    ) -> impl Iterator<Item = Result<(Key, Versioned), StoreError>> + use<> {
        let keys = (range.start.clone(), range.end.clone());
        let mut rows = (!range.is_empty()).then(|| self.tree(table).range(keys));
        std::iter::from_fn(move || {
            let rows = rows.as_mut()?;
            let row = match direction {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            };
            row.map(|stored| {
                let (key, value) = stored.map_err(failed)?;
                let value = versioned(table, &key, &value)?;
                Ok((key.to_vec(), value))
            })
        })
    }
    /// Keys with this prefix and the revision that wrote each.
    pub(super) fn revisions<'a>(
        &'a self,
        table: Table,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(IVec, Revision), StoreError>> + 'a {
        self.tree(table).scan_prefix(prefix).map(move |stored| {
            let (key, value) = stored.map_err(failed)?;
            let (revision, _) = split(table, &key, &value)?;
            Ok((key, revision))
        })
    }
    /// Writes all of a group. Not durable before a flush; a crash before may leave any part of it.
    pub(super) fn apply(&self, group: &Group) -> Result<(), StoreError> {
        for (table, rows) in group.tables() {
            let tree = self.tree(table);
            for (key, value) in rows {
                match value {
                    Some(value) => tree.insert(key, value.as_slice()),
                    None => tree.remove(key),
                }
                .map_err(failed)?;
            }
        }
        Ok(())
    }
    /// Everything applied so far is on disk when it returns.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(|e| failed(::sled::Error::Io(e)))
    }
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "there is one tree for every table, in the order of the tables"
    )]
    fn tree(&self, table: Table) -> &Tree {
        &self.trees[table as usize]
    }
}

/// A value as it is stored.
pub(super) fn stored_value(revision: Revision, value: &[u8]) -> Vec<u8> {
    [&revision.0.to_be_bytes()[..], value].concat()
}

/// The revision of a stored value.
pub(super) fn revision_of(table: Table, key: &[u8], stored: &[u8]) -> Result<Revision, StoreError> {
    split(table, key, stored).map(|(revision, _)| revision)
}

fn split<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> Result<(Revision, &'a [u8]), StoreError> {
    let (revision, value) = stored.split_first_chunk::<8>().ok_or_else(|| {
        StoreError::Corrupt(format!(
            "the row with key \"{}\" in the registry's table {:?} is damaged: restore a backup",
            key.escape_ascii(),
            table.name()
        ))
    })?;
    Ok((Revision(u64::from_be_bytes(*revision)), value))
}

pub(super) fn versioned(table: Table, key: &[u8], stored: &[u8]) -> Result<Versioned, StoreError> {
    let (revision, value) = split(table, key, stored)?;
    Ok(Versioned { revision, value: value.to_vec() })
}

fn is_lock(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn failed(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Corruption { .. } => StoreError::Corrupt(format!(
            "the registry's files are damaged ({error}): restore a backup of the data directory"
        )),
        other => StoreError::Unavailable(format!("the registry's files cannot be read or written: {other}")),
    }
}

//! The trees on disk. A value is the revision that wrote it (8 bytes, big endian) and the bytes.
use super::group::Group;
use super::home::Home;
use super::known_keys::{FOLLOWED, KnownKeys, fingerprint};
use super::small_tables::SmallTables;
use crate::store::{Direction, Key, KeyRange, Revision, SessionLayer, StoreError, Table, Versioned};
use ::sled::{Db, IVec, Mode, Tree};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// sled lets go of its files a moment after it is dropped. The directory's own lock is held by then, so only sled's
/// remains of this process can be in the way.
const REMAINS_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a segment of sled's log. Larger than sled's own 512 kB: fewer buffers to hand over, and less of the file is
/// garbage.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// Row of the engine's table: the last entry of the known keys' file that the trees count on.
const KNOWN_KEYS: &[u8] = b"known-keys";

/// One tree per table.
pub(super) struct Trees {
    trees: Vec<Tree>,
    db: Db,
    /// sled's one file. Its own flush hands the bytes to the operating system, which a killed process survives; that they
    /// survive a power cut takes a sync of the file.
    file: File,
    known: KnownKeys,
    small: SmallTables,
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
        if !db.was_recovered() {
            remove_stray_values(&home).map_err(|e| failed(::sled::Error::Io(e)))?;
        }
        let trees = Table::ALL
            .iter()
            .map(|table| db.open_tree(table.name()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let file = File::open(home.engine().join("db")).map_err(|e| failed(::sled::Error::Io(e)))?;
        let known = known_keys(&trees, &home)?;
        let small = SmallTables::read(|table| {
            let rows = tree_of(&trees, table).iter();
            rows.map(|row| row.map(|(key, stored)| (key.to_vec(), stored.to_vec())).map_err(failed))
        })?;
        Ok(Self { trees, db, file, known, small, home })
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.read(table, key, |stored| versioned(table, key, stored))
    }
    /// The revision that wrote a row.
    pub(super) fn revision(&self, table: Table, key: &[u8]) -> Result<Option<Revision>, StoreError> {
        self.read(table, key, |stored| revision_of(table, key, stored))
    }
    fn read<T>(
        &self,
        table: Table,
        key: &[u8],
        read: impl Fn(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if !self.known.may_have(table, key) {
            return Ok(None);
        }
        if let Some(row) = self.small.get(table, key, &read) {
            return row.transpose();
        }
        self.tree(table).get(key).map_err(failed)?.map(|stored| read(&stored)).transpose()
    }
    /// Rows of a range, in key order or against it.
    pub(super) fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<(Key, Versioned), StoreError>>> {
        let read = move |key: Key, stored: &[u8]| {
            let value = versioned(table, &key, stored)?;
            Ok((key, value))
        };
        let rows: Box<dyn DoubleEndedIterator<Item = _>> = match self.small.range(table, range) {
            Some(rows) => Box::new(rows.into_iter().map(move |(key, stored)| read(key, &stored))),
            None if range.is_empty() => Box::new(std::iter::empty()),
            None => {
                let rows = self.tree(table).range((range.start.clone(), range.end.clone()));
                Box::new(rows.map(move |row| {
                    let (key, stored) = row.map_err(failed)?;
                    read(key.to_vec(), &stored)
                }))
            }
        };
        match direction {
            Direction::Ascending => rows,
            Direction::Descending => Box::new(rows.rev()),
        }
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
    /// Writes all of a group but what is of sessions. Not durable before a flush; a crash before may leave any part of it.
    pub(super) fn apply(&self, group: &Group) -> Result<(), StoreError> {
        for (table, rows) in group.tables() {
            let tree = self.tree(table);
            for (key, value) in rows {
                match value {
                    Some(value) => {
                        self.known.add(table, key);
                        tree.insert(key, value.as_slice())
                    }
                    None => {
                        self.known.remove(table);
                        tree.remove(key)
                    }
                }
                .map_err(failed)?;
            }
            self.small.apply(table, rows);
        }
        Ok(())
    }
    /// Writes the rows of a layer, likewise.
    pub(super) fn write(&self, layer: &SessionLayer) -> Result<(), StoreError> {
        for (table, key, row) in layer.iter() {
            let tree = self.tree(table);
            match row.value() {
                Some(value) => tree.insert(key, stored_value(value.revision(), value.bytes())),
                None => tree.remove(key),
            }
            .map_err(failed)?;
        }
        Ok(())
    }
    /// Everything applied so far is on disk when it returns.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let saved = self.known.save()?;
        let row = stored_value(Revision(0), &saved.to_be_bytes());
        tree_of(&self.trees, Table::Engine).insert(KNOWN_KEYS, row).map_err(failed)?;
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(|e| failed(::sled::Error::Io(e)))
    }
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    fn tree(&self, table: Table) -> &Tree {
        tree_of(&self.trees, table)
    }
}

#[expect(clippy::indexing_slicing, reason = "there is one tree for every table, in the order of the tables")]
fn tree_of(trees: &[Tree], table: Table) -> &Tree {
    &trees[table as usize]
}

/// From their file, or, if it is not what the trees say of it, from the trees.
fn known_keys(trees: &[Tree], home: &Home) -> Result<KnownKeys, StoreError> {
    let saved = match tree_of(trees, Table::Engine).get(KNOWN_KEYS).map_err(failed)? {
        Some(row) => number(split(Table::Engine, KNOWN_KEYS, &row)?.1)?,
        None => 0,
    };
    let path = home.known_keys();
    if let Some(known) = KnownKeys::open(&path, saved)? {
        return Ok(known);
    }
    let began = Instant::now();
    let keys = FOLLOWED.into_iter().flat_map(|table| {
        let keys = tree_of(trees, table).iter().keys();
        keys.map(move |key| Ok(fingerprint(table, &key.map_err(failed)?)))
    });
    let made = KnownKeys::make(&path, saved + 1, keys)?;
    if FOLLOWED.into_iter().any(|table| !tree_of(trees, table).is_empty()) {
        tracing::info!(file = %path.display(), took = ?began.elapsed(), "the list of known keys was made anew");
    }
    Ok(made)
}

fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| {
        StoreError::Corrupt("a number in the registry's engine is damaged: restore a backup".into())
    })
}

/// Large values have files of their own, named by where they are in sled's log. If that has nothing that is stable, as after a
/// kill before the first checkpoint, sled leaves such files, and fails when it comes to the same place again.
fn remove_stray_values(home: &Home) -> io::Result<()> {
    for value in std::fs::read_dir(home.engine().join("blobs"))? {
        std::fs::remove_file(value?.path())?;
    }
    Ok(())
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

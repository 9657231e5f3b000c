//! Loading an archive into a data directory that has no registry yet, or an empty one: whole, or not at all.
use super::reader::{ArchiveError, Reader, Verified, verify};
use super::tables;
use crate::clock::SystemClock;
use crate::error::RegistryError;
use crate::store::sled::{DiskGuard, SledOptions, SledStore, free_bytes};
use crate::store::{Direction, KeyRange, Retention, Store, Table, Write, unconditional};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of one commit.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 1024 * 1024;
/// The page cache while loading.
const CACHE: u64 = 64 * 1024 * 1024;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// The registry is that of the archive.
    Loaded(Verified),
    /// The registry has content already; it was left as it is.
    NotEmpty,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive is not one, not whole, or not for this program.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The registry that is there cannot be opened, or the new one cannot be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The new registry could not be put in its place.
    #[error("{} could not be {done}: {error}", path.display())]
    Files {
        /// What could not be done.
        done: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Loads an archive into `<dir>/registry`, where nothing but an empty registry may be. The archive is read twice: verified
/// from its first line to its last before anything is written, then loaded into a directory beside it, which is renamed when
/// it is whole. `owner` is the account and the region that it must be of, if that is to be checked. `progress` is told how
/// many bytes of the two readings are done.
pub async fn import(
    dir: &Path,
    archive: &Path,
    owner: Option<(&str, &str)>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Imported, ImportError> {
    let registry = dir.join("registry");
    let at = |path: &Path, done| {
        let path = path.to_path_buf();
        move |error| ImportError::Files { done, path, error }
    };
    if !is_empty(dir, &registry).await? {
        return Ok(Imported::NotEmpty);
    }
    if let Some((account, region)) = owner {
        Reader::open(archive)?.check_owner(account, region)?;
    }
    let verified = verify(archive, progress)?;
    let unfinished = dir.join("registry.importing");
    remove(&unfinished).map_err(at(&unfinished, "removed"))?;
    std::fs::create_dir_all(dir).map_err(at(dir, "created"))?;
    let loaded = load(&unfinished, archive, progress).await;
    let placed = loaded.and_then(|again| {
        if again != verified {
            return Err(ArchiveError::new(archive, "was changed while it was read: try again").into());
        }
        remove(&registry).map_err(at(&registry, "removed"))?;
        std::fs::rename(unfinished.join("registry"), &registry).map_err(at(&registry, "put in place"))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir, "synced"))
    });
    let removed = remove(&unfinished).map_err(at(&unfinished, "removed"));
    placed.and(removed).map(|()| Imported::Loaded(verified))
}

/// Is there no registry, or one that holds nothing but its account and region? Fails while another process has it open.
async fn is_empty(dir: &Path, registry: &Path) -> Result<bool, ImportError> {
    if !registry.exists() {
        return Ok(true);
    }
    let store = open(dir).await?;
    let mut empty = true;
    for table in tables().into_iter().chain([Table::AccessKeys]).filter(|table| *table != Table::Settings) {
        let rows = store.scan(table, &KeyRange::prefix(&[]), 1, Direction::Ascending).await;
        empty = empty && rows.map_err(RegistryError::from)?.is_empty();
    }
    store.close().await.map_err(RegistryError::from)?;
    Ok(empty)
}

async fn load(
    dir: &Path,
    archive: &Path,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Verified, ImportError> {
    let store = open(dir).await?;
    let mut reader = Reader::open(archive)?;
    let before = std::fs::metadata(archive).map_or(0, |metadata| metadata.len());
    let mut ended = false;
    while !ended {
        let mut writes = Vec::new();
        let mut bytes = 0;
        while writes.len() < BATCH && bytes < BATCH_BYTES && !ended {
            match reader.next()? {
                Some(row) => {
                    bytes += row.value.len();
                    writes.push(Write { table: row.table, key: row.key, value: Some(row.value) });
                }
                None => ended = true,
            }
        }
        store.commit(unconditional(writes, None)).await.map_err(RegistryError::from)?;
        progress(before + reader.bytes);
    }
    store.close().await.map_err(RegistryError::from)?;
    Ok(reader.verified())
}

async fn open(dir: &Path) -> Result<SledStore, ImportError> {
    let options = SledOptions {
        cache_bytes: CACHE,
        guard: DiskGuard::new(0, free_bytes),
        retention: Retention::default(),
        clock: Arc::new(SystemClock),
    };
    Ok(SledStore::open(dir, options).await.map_err(RegistryError::from)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

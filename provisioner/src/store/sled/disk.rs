//! The guard against a full disk: it refuses before the engine has to find out.
use crate::store::StoreError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Says when the disk has too little room to write. Asked before every group, so it recovers by itself.
#[derive(Clone)]
pub(crate) struct DiskGuard {
    watched: PathBuf,
    min_free: u64,
    free: Arc<FreeSpace>,
}

/// Finds out how many bytes may still be written to the disk that holds a path.
type FreeSpace = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

impl DiskGuard {
    /// Refuses to write when fewer than `min_free` bytes would be left of what `free` finds.
    pub(crate) fn new(
        min_free: u64,
        free: impl Fn(&Path) -> io::Result<u64> + Send + Sync + 'static,
    ) -> Self {
        Self { watched: PathBuf::new(), min_free, free: Arc::new(free) }
    }
    pub(super) fn watching(mut self, path: &Path) -> Self {
        self.watched = path.to_path_buf();
        self
    }
    /// May this many bytes be written?
    pub(super) fn check(&self, bytes: u64) -> Result<(), StoreError> {
        let free = self.free()?;
        if free.checked_sub(bytes).is_some_and(|left| left >= self.min_free) {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "the disk has only {free} bytes free where {} lies, and {} are kept free: make room, or lower \
             min_free_disk; writing goes on by itself then",
            self.watched.display(),
            self.min_free
        )))
    }

    fn free(&self) -> Result<u64, StoreError> {
        (self.free)(&self.watched).map_err(|e| {
            StoreError::Unavailable(format!(
                "the free space of the disk that holds {} cannot be found out: {e}",
                self.watched.display()
            ))
        })
    }
}

/// Bytes that this process may still write to the disk that holds `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

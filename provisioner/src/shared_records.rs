//! Records that many read and few write, decoded once.
use crate::cache::Cache;
use crate::error::RegistryError;
use crate::store::{Key, Revision};
use std::sync::Arc;

/// Decoded records of one kind by their key and the commit that wrote them: that names their content for ever, so nothing
/// here can be stale. Which commit wrote a record last is read from the store each time.
pub(crate) struct SharedRecords<R> {
    decoded: Cache<(Key, Revision), Arc<R>>,
}

impl<R> SharedRecords<R> {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { decoded: Cache::new(most) }
    }
    /// The record of this key as this commit wrote it.
    pub(crate) fn get_or_decode(
        &self,
        written: (Key, Revision),
        decode: impl FnOnce() -> Result<Arc<R>, RegistryError>,
    ) -> Result<Arc<R>, RegistryError> {
        if let Some(record) = self.decoded.get(&written) {
            return Ok(record);
        }
        let record = decode()?;
        self.decoded.put(written, Arc::clone(&record));
        Ok(record)
    }
}

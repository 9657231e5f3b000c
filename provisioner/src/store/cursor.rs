//! How far a consumer of the change log has come.
use super::{Revision, StoreError};
use crate::clock::Timestamp;

/// A row of the table of cursors: everything up to `done` is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub done: Revision,
    /// When it was moved there.
    pub at: Timestamp,
}

impl Cursor {
    /// Two numbers of 8 bytes, big endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.done.0.to_be_bytes(), self.at.0.to_be_bytes()].concat()
    }
    /// Reads what `encode` wrote.
    pub(crate) fn decode(consumer: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let corrupt = || {
            StoreError::Corrupt(format!(
                "the cursor of consumer {:?} in the registry's table \"cursors\" is damaged",
                String::from_utf8_lossy(consumer)
            ))
        };
        let (done, at) = bytes.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let at: [u8; 8] = at.try_into().map_err(|_| corrupt())?;
        Ok(Self { done: Revision(u64::from_be_bytes(*done)), at: Timestamp(u64::from_be_bytes(at)) })
    }
}

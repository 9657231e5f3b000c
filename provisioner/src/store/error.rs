//! Why the store did not do it.
use crate::error::RegistryError;

/// Why the store did not do it. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// An expectation does not hold any more: read again and decide again.
    #[error("what was read has been changed meanwhile")]
    Conflict,
    /// It cannot be written (or read) now. Says why and what to do.
    #[error("{0}")]
    Unavailable(String),
    /// What is stored cannot be understood. Says where.
    #[error("{0}")]
    Corrupt(String),
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => RegistryError::ConflictingUpdate(
                "others change the same resources at the same time: try again".into(),
            ),
            StoreError::Unavailable(why) => RegistryError::Unavailable(why),
            StoreError::Corrupt(what) => RegistryError::Internal(what),
        }
    }
}

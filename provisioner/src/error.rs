//! Why the registry said no. One variant per answer that a caller must tell apart.

/// What kind of resource an error is about, for a person.
pub type ResourceKindName = &'static str;

/// Why an operation did not happen. Nothing was changed. The API maps each variant to one AWS exception.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum RegistryError {
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{kind} {name:?} does not exist")]
    NotFound { kind: ResourceKindName, name: String },
    #[error("{kind} {id:?} exists already{hint}")]
    AlreadyExists { kind: ResourceKindName, id: String, arn: String, hint: String },
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    VersionsLimitExceeded(String),
    #[error("{0}")]
    CertificateState(String),
    #[error("{0}")]
    CertificateConflict(String),
    #[error("{0}")]
    CertificateValidation(String),
    #[error("{0}")]
    RegistrationCodeValidation(String),
    #[error("{0}")]
    DeleteConflict(String),
    #[error("{0}")]
    VersionConflict(String),
    #[error("{0}")]
    ConflictingUpdate(String),
    #[error("{0}")]
    RegistrationFailure(String),
    #[error("{0}")]
    MalformedPolicy(String),
    #[error("{0}")]
    InvalidQuery(String),
    /// The store cannot persist (disk full, failed flush): nothing is written until it can again.
    #[error("the registry cannot be written: {0}")]
    Unavailable(String),
    #[error("internal error: {0}")]
    Internal(String),
}

//! A policy document.

/// Why a text is not a policy document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct DocumentError {
    /// JSON path: `$.Statement[0].Effect`.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// A parsed policy document (`spec/policies.md` section 1).
#[derive(Debug, Clone, PartialEq)]
pub struct Document {}

impl Document {
    /// Most characters, white space not counted.
    pub const MAX_CHARACTERS: usize = 2048;
    /// Parses and validates.
    pub fn parse(_text: &str) -> Result<Self, DocumentError> {
        unimplemented!()
    }
}

//! What can be wrong with a certificate, a key or a request.

/// Why bytes or text are not usable: what is wrong, where, and what to do about it.
///
/// The text is for people; programs ask [`CertificateError::kind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CertificateError {
    kind: CertificateErrorKind,
    message: String,
}

/// The kinds of [`CertificateError`] that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateErrorKind {
    /// The PEM, base64 or DER cannot be read.
    Malformed,
    /// The text has no `CERTIFICATE` block, several, or other blocks beside it.
    NotOneCertificate,
    /// Larger than any certificate that this broker handles.
    TooLarge,
    /// Readable, but the key or the signature is weak or of a kind that `spec/jitp.md` section 8 refuses.
    UnsupportedAlgorithm,
    /// Readable, but not a certificate that may issue others.
    NotACa,
    /// A private key cannot be read, is of an unsupported kind, or is not the certificate's.
    PrivateKey,
    /// A certificate signing request cannot be read or is not signed by its own key.
    Request,
    /// A certificate cannot be made as asked.
    Issue,
}

impl CertificateError {
    /// What is wrong, for programs.
    pub const fn kind(&self) -> CertificateErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: CertificateErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(CertificateErrorKind::Malformed, message)
    }
    pub(crate) fn issue(message: impl Into<String>) -> Self {
        Self::new(CertificateErrorKind::Issue, message)
    }
}

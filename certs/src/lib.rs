//! X.509 for jitp: read, identify, verify who issued, issue. Pure: no I/O, no clock.
#![deny(missing_docs)]

mod authority;
mod certificate;
mod id;
mod issuer;
mod name;

pub use authority::{Authority, Issued, KeyKind, LeafRequest, PrivateKeyPem};
pub use certificate::{
    AlternativeName, Certificate, CertificateError, KeyAlgorithm, SignatureAlgorithm, Validity, ValidityError,
};
pub use id::{CertificateId, CertificateIdError};
pub use issuer::{IssuerError, check_issuing_ca, issued_by};
pub use name::{Attribute, DistinguishedName};

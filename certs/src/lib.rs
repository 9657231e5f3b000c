//! X.509 for jitp: read, identify, verify who issued, issue. Pure: no I/O, no clock.
//!
//! The one impurity is the system's random number generator, when something is issued.
#![deny(missing_docs)]

mod algorithm;
mod alternative_name;
mod authority;
mod certificate;
mod certificate_request;
mod certs_only;
mod der;
mod error;
mod extensions;
mod id;
mod issuer;
mod key_pair;
mod leaf_usage;
mod name;
mod pem;
mod private_key;
mod to_be_signed;
mod twin;
mod validity;

pub use algorithm::{KeyAlgorithm, SignatureAlgorithm};
pub use alternative_name::AlternativeName;
pub use authority::{Authority, Issued, LeafRequest};
pub use certificate::Certificate;
pub use certificate_request::CertificateRequest;
pub use certs_only::certs_only;
pub use error::{CertificateError, CertificateErrorKind};
pub use id::{CertificateId, CertificateIdError};
pub use issuer::{IssuerError, check_issuing_ca, issued_by};
pub use key_pair::KeyPair;
pub use leaf_usage::{ExtendedKeyUsage, KeyUsage, LeafUsage};
pub use name::{Attribute, DistinguishedName};
pub use private_key::{KeyKind, PrivateKeyPem};
pub use validity::{Validity, ValidityError};

//! What a leaf certificate may be used for.
use crate::der::OidBytes;
use x509_parser::asn1_rs::oid;

/// keyUsage and extendedKeyUsage of a leaf certificate (RFC 5280 sections 4.2.1.3 and 4.2.1.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafUsage {
    /// keyUsage, critical; without any the extension is left out.
    pub key: Vec<KeyUsage>,
    /// extendedKeyUsage, not critical; without any the extension is left out.
    pub extended: Vec<ExtendedKeyUsage>,
}

impl Default for LeafUsage {
    /// A TLS client: digitalSignature, clientAuth.
    fn default() -> Self {
        Self { key: vec![KeyUsage::DigitalSignature], extended: vec![ExtendedKeyUsage::ClientAuth] }
    }
}

macro_rules! usages {
    ($(#[doc = $doc:literal])+ $usage:ident { $($(#[doc = $about:literal])+ $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $usage { $($(#[doc = $about])+ $variant),+ }
        impl $usage {
            /// All of them.
            pub const ALL: &'static [$usage] = &[$($usage::$variant),+];
            /// The name that RFC 5280 gives it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
        impl std::str::FromStr for $usage {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|usage| usage.name() == text).ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|usage| usage.name()).collect();
                    format!("{text:?} is none of {}", known.join(", "))
                })
            }
        }
    };
}

usages! {
    /// What the key of a certificate may do.
    KeyUsage {
        /// Signing in a handshake.
        DigitalSignature = "digitalSignature",
        /// Signing what shall not be denied.
        ContentCommitment = "contentCommitment",
        /// Wrapping keys: RSA key exchange.
        KeyEncipherment = "keyEncipherment",
        /// Encrypting data itself.
        DataEncipherment = "dataEncipherment",
        /// Agreeing on keys.
        KeyAgreement = "keyAgreement",
    }
}

usages! {
    /// What a certificate is for.
    ExtendedKeyUsage {
        /// The client of a TLS connection.
        ClientAuth = "clientAuth",
        /// The server of a TLS connection.
        ServerAuth = "serverAuth",
    }
}

impl KeyUsage {
    /// Its bit in the first byte of the BIT STRING.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::DigitalSignature => 0x80,
            Self::ContentCommitment => 0x40,
            Self::KeyEncipherment => 0x20,
            Self::DataEncipherment => 0x10,
            Self::KeyAgreement => 0x08,
        }
    }
}

impl ExtendedKeyUsage {
    pub(crate) const fn oid(self) -> OidBytes {
        match self {
            Self::ServerAuth => &oid!(raw 1.3.6.1.5.5.7.3.1),
            Self::ClientAuth => &oid!(raw 1.3.6.1.5.5.7.3.2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_read_back_by_the_names_of_the_standard() {
        for usage in KeyUsage::ALL {
            assert_eq!(usage.name().parse(), Ok(*usage));
        }
        for usage in ExtendedKeyUsage::ALL {
            assert_eq!(usage.name().parse(), Ok(*usage));
        }
        let error = "keyCertSign".parse::<KeyUsage>().unwrap_err();
        assert!(error.contains("digitalSignature"), "{error}");
    }
}

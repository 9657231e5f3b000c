//! Private keys: generated, read, written, and used to sign what is issued.
use crate::algorithm::{
    ECDSA_WITH_SHA256, ECDSA_WITH_SHA384, ECDSA_WITH_SHA512, RSA_ENCRYPTION, SHA256_WITH_RSA,
};
use crate::der::{self, OidBytes};
use crate::pem;
use crate::{CertificateError, CertificateErrorKind};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tag};
use zeroize::Zeroizing;

/// The key to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// ECDSA on P-256: what a device should have.
    #[default]
    EcP256,
    /// ECDSA on P-384.
    EcP384,
    /// ECDSA on P-521.
    EcP521,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits; takes seconds to generate.
    Rsa4096,
}

/// A private key as PEM (PKCS#8). Wiped on drop; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKeyPem {
    pem: Zeroizing<String>,
    der: Zeroizing<Vec<u8>>,
}

impl PrivateKeyPem {
    /// A new key.
    ///
    /// # Errors
    /// The random number generator fails.
    pub fn generate(kind: KeyKind) -> Result<Self, CertificateError> {
        SigningKey::generate(kind)?.to_pem()
    }
    /// Reads PKCS#8 (`PRIVATE KEY`), SEC1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`), not encrypted.
    /// Certificates and `EC PARAMETERS` beside it are passed over. It is kept as PKCS#8.
    ///
    /// # Errors
    /// [`CertificateErrorKind::PrivateKey`]: none or several, encrypted, not readable, or not RSA of 2048 to
    /// 8192 bits or EC on P-256, P-384 or P-521. [`CertificateErrorKind::Malformed`]: not PEM.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        SigningKey::from_pem(text)?.to_pem()
    }
    /// The text, for writing to a file of mode 0600.
    pub fn expose(&self) -> &str {
        &self.pem
    }
    /// The form that AWS gives and that the smallest TLS libraries read: RSA as PKCS#1 (`RSA PRIVATE KEY`), anything else
    /// as PKCS#8.
    pub fn to_traditional_pem(&self) -> Zeroizing<String> {
        match rsa_in_pkcs8(&self.der) {
            Some(der) => Zeroizing::new(pem::encode("RSA PRIVATE KEY", der)),
            None => self.pem.clone(),
        }
    }
    /// DER (PKCS#8).
    pub fn to_der(&self) -> Zeroizing<Vec<u8>> {
        self.der.clone()
    }
}

impl std::fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKeyPem(…)")
    }
}

/// The PKCS#1 key inside PKCS#8 (RFC 5208 section 5): version, algorithm, and the key in an OCTET STRING.
fn rsa_in_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let (_, outer) = Any::from_der(der).ok()?;
    let (rest, _version) = Any::from_der(outer.data).ok()?;
    let (rest, algorithm) = Any::from_der(rest).ok()?;
    let (_, oid) = Oid::from_der(algorithm.data).ok()?;
    let (_, key) = Any::from_der(rest).ok()?;
    (oid.as_bytes() == RSA_ENCRYPTION && key.tag() == Tag::OctetString).then_some(key.data)
}

/// A private key that signs certificates.
pub(crate) enum SigningKey {
    Ec { pair: EcdsaKeyPair, curve: &'static Curve },
    Rsa(RsaKeyPair),
}

impl SigningKey {
    pub fn generate(kind: KeyKind) -> Result<Self, CertificateError> {
        let ec = |curve: &'static Curve| {
            EcdsaKeyPair::generate(curve.signing).map(|pair| Self::Ec { pair, curve })
        };
        match kind {
            KeyKind::EcP256 => ec(&P256),
            KeyKind::EcP384 => ec(&P384),
            KeyKind::EcP521 => ec(&P521),
            KeyKind::Rsa2048 => RsaKeyPair::generate(KeySize::Rsa2048).map(Self::Rsa),
            KeyKind::Rsa3072 => RsaKeyPair::generate(KeySize::Rsa3072).map(Self::Rsa),
            KeyKind::Rsa4096 => RsaKeyPair::generate(KeySize::Rsa4096).map(Self::Rsa),
        }
        .map_err(|_| CertificateError::issue("a key could not be generated: the random source failed"))
    }

    /// As [`PrivateKeyPem::from_pem`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let unusable = |message: String| CertificateError::new(CertificateErrorKind::PrivateKey, message);
        if text.len() > pem::MAX_CHARACTERS {
            return Err(unusable(format!("the private key is longer than {} bytes", pem::MAX_CHARACTERS)));
        }
        let mut blocks = pem::blocks(text)?;
        blocks.retain(|block| !matches!(block.label, "EC PARAMETERS" | "CERTIFICATE"));
        let block = match blocks.as_slice() {
            [block] => block,
            [] => {
                return Err(unusable(
                    "no private key found; it begins with the line -----BEGIN PRIVATE KEY-----".to_owned(),
                ));
            }
            [_, second, ..] => {
                return Err(unusable(format!(
                    "PEM line {}: found a second block, {}; give one private key",
                    second.line, second.label
                )));
            }
        };
        let ec = |read: fn(&'static EcdsaSigningAlgorithm, &[u8]) -> Option<EcdsaKeyPair>| {
            [&P256, &P384, &P521]
                .into_iter()
                .find_map(|curve| Some(Self::Ec { pair: read(curve.signing, &block.der)?, curve }))
        };
        match block.label {
            "PRIVATE KEY" => ec(|curve, der| EcdsaKeyPair::from_pkcs8(curve, der).ok())
                .or_else(|| RsaKeyPair::from_pkcs8(&block.der).map(Self::Rsa).ok()),
            "EC PRIVATE KEY" => ec(|curve, der| EcdsaKeyPair::from_private_key_der(curve, der).ok()),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.der).map(Self::Rsa).ok(),
            "ENCRYPTED PRIVATE KEY" => {
                return Err(unusable(
                    "the private key is encrypted; decrypt it first, for example with openssl pkey".to_owned(),
                ));
            }
            other => {
                return Err(unusable(format!(
                    "PEM line {}: found a {other} block where a private key is expected",
                    block.line
                )));
            }
        }
        .ok_or_else(|| {
            unusable(
                "the private key cannot be read, or is not RSA of 2048 to 8192 bits or EC on P-256, P-384 or P-521"
                    .to_owned(),
            )
        })
    }

    pub fn to_pem(&self) -> Result<PrivateKeyPem, CertificateError> {
        let der = match self {
            Self::Ec { pair, .. } => pair.to_pkcs8v1().map(|document| document.as_ref().to_vec()),
            Self::Rsa(pair) => pair.as_der().map(|document| document.as_ref().to_vec()),
        };
        let der = Zeroizing::new(der.map_err(|_| CertificateError::issue("a key could not be written"))?);
        Ok(PrivateKeyPem { pem: Zeroizing::new(pem::encode("PRIVATE KEY", &der)), der })
    }

    /// DER of the SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> Result<Vec<u8>, CertificateError> {
        match self {
            Self::Ec { pair, .. } => pair.public_key().as_der().map(|info| info.as_ref().to_vec()),
            Self::Rsa(pair) => pair.public_key().as_der().map(|info| info.as_ref().to_vec()),
        }
        .map_err(|_| CertificateError::issue("a public key could not be written"))
    }

    /// Content of the public key's BIT STRING.
    pub fn public_key_bits(&self) -> &[u8] {
        match self {
            Self::Ec { pair, .. } => pair.public_key().as_ref(),
            Self::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// DER of the AlgorithmIdentifier of what [`Self::sign`] makes.
    pub fn signature_algorithm(&self) -> Vec<u8> {
        match self {
            Self::Ec { curve, .. } => der::sequence(&[&der::oid(curve.signature)]),
            Self::Rsa(_) => der::sequence(&[&der::oid(SHA256_WITH_RSA), &der::null()]),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let random = SystemRandom::new();
        match self {
            Self::Ec { pair, .. } => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        }
        .map_err(|_| CertificateError::issue("signing failed"))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// A curve, and the hash of its own strength.
pub(crate) struct Curve {
    signing: &'static EcdsaSigningAlgorithm,
    signature: OidBytes,
}

static P256: Curve = Curve { signing: &ECDSA_P256_SHA256_ASN1_SIGNING, signature: ECDSA_WITH_SHA256 };
static P384: Curve = Curve { signing: &ECDSA_P384_SHA384_ASN1_SIGNING, signature: ECDSA_WITH_SHA384 };
static P521: Curve = Curve { signing: &ECDSA_P521_SHA512_ASN1_SIGNING, signature: ECDSA_WITH_SHA512 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_is_written_and_read_back() {
        for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::EcP521, KeyKind::Rsa2048] {
            let key = SigningKey::generate(kind).unwrap();
            let again = SigningKey::from_pem(key.to_pem().unwrap().expose()).unwrap();
            assert_eq!(again.public_key_info().unwrap(), key.public_key_info().unwrap(), "{kind:?}");
            assert_eq!(again.signature_algorithm(), key.signature_algorithm(), "{kind:?}");
        }
    }

    #[test]
    fn rsa_keys_have_the_traditional_form_and_others_stay_as_they_are() {
        let rsa = PrivateKeyPem::generate(KeyKind::Rsa2048).unwrap();
        let traditional = rsa.to_traditional_pem();
        assert!(traditional.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        // Devices hold it in 2,048 bytes.
        assert!(traditional.len() < 2048);
        assert_eq!(PrivateKeyPem::from_pem(&traditional).unwrap().expose(), rsa.expose());
        let ec = PrivateKeyPem::generate(KeyKind::EcP256).unwrap();
        assert_eq!(ec.to_traditional_pem().as_str(), ec.expose());
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        let key = PrivateKeyPem::generate(KeyKind::EcP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKeyPem(…)");
    }

    #[test]
    fn what_is_no_private_key_is_refused_with_a_reason_that_repeats_none_of_it() {
        let message = |label: &str| {
            let error = SigningKey::from_pem(&pem::encode(label, b"secret bytes")).unwrap_err();
            assert_eq!(error.kind(), CertificateErrorKind::PrivateKey);
            assert!(!error.to_string().contains("c2Vj"));
            error.to_string()
        };
        assert!(message("PRIVATE KEY").starts_with("the private key cannot be read"));
        assert!(message("ENCRYPTED PRIVATE KEY").starts_with("the private key is encrypted"));
        assert!(message("PUBLIC KEY").starts_with("PEM line 1: found a PUBLIC KEY block"));
        assert!(message("CERTIFICATE").starts_with("no private key found"));
        let key = PrivateKeyPem::generate(KeyKind::EcP256).unwrap();
        let twice = format!("{0}{0}", key.expose());
        assert!(SigningKey::from_pem(&twice).unwrap_err().to_string().contains("second block"));
    }
}

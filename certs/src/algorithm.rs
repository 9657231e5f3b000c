//! Which keys and signatures are accepted (`spec/jitp.md` section 8), and how a signature is verified.
use crate::IssuerError;
use crate::name;
use aws_lc_rs::signature::{self as lc, VerificationAlgorithm};
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tagged, oid};
use x509_parser::public_key::RSAPublicKey;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Key types, `spec/jitp.md` section 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// `rsaEncryption`.
    Rsa {
        /// Of the modulus.
        bits: usize,
    },
    /// `id-RSASSA-PSS`: signs with RSA-PSS only, and with TLS 1.3 only.
    RsaPss {
        /// Of the modulus.
        bits: usize,
    },
    /// ECDSA on P-256 (`prime256v1`).
    EcP256,
    /// ECDSA on P-384 (`secp384r1`).
    EcP384,
    /// ECDSA on P-521 (`secp521r1`).
    EcP521,
    /// Everything else: DSA, EdDSA, other curves, the unknown.
    Unsupported,
}

impl KeyAlgorithm {
    /// Is it of the kinds, and strong enough? What is not cannot prove itself in a handshake.
    pub fn is_accepted(self) -> bool {
        match self {
            Self::Rsa { bits } | Self::RsaPss { bits } => RSA_BITS.contains(&bits),
            Self::EcP256 | Self::EcP384 | Self::EcP521 => true,
            Self::Unsupported => false,
        }
    }
}

/// Signature types, `spec/jitp.md` section 8. `Unsupported` covers MD5, SHA-1, DSA, EdDSA and the unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SignatureAlgorithm {
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
    Unsupported,
}

/// The least and the most bits of an RSA modulus; above 8192 nothing in use can verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a SubjectPublicKeyInfo says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKeyKind {
    pub algorithm: KeyAlgorithm,
    /// An `id-RSASSA-PSS` key may be bound to one hash (RFC 4055 section 1.2).
    only: Option<SignatureAlgorithm>,
}

impl PublicKeyKind {
    /// The key's kind, and for a refused one why.
    pub fn read(info: &SubjectPublicKeyInfo<'_>) -> (Self, Option<String>) {
        let bits = || RSAPublicKey::from_der(&info.subject_public_key.data).map(|(_, key)| bits(key.modulus));
        let parameters = info.algorithm.parameters();
        let plain = |algorithm| Ok(Self { algorithm, only: None });
        let found = match info.algorithm.oid().as_bytes() {
            RSA_ENCRYPTION => match bits() {
                Ok(bits) => plain(KeyAlgorithm::Rsa { bits }),
                Err(_) => Err("an unreadable RSA key".to_owned()),
            },
            RSASSA_PSS => match (bits(), parameters) {
                (Ok(bits), None) => plain(KeyAlgorithm::RsaPss { bits }),
                (Ok(bits), Some(parameters)) => match pss_hash(parameters) {
                    Some(PssHash { algorithm, salt, digest }) if salt <= digest => {
                        Ok(Self { algorithm: KeyAlgorithm::RsaPss { bits }, only: Some(algorithm) })
                    }
                    _ => Err("an RSA-PSS key bound to SHA-1 or to other unsupported parameters".to_owned()),
                },
                (Err(_), _) => Err("an unreadable RSA-PSS key".to_owned()),
            },
            EC_PUBLIC_KEY => {
                match parameters.filter(|any| any.tag() == Oid::TAG).and_then(|any| any.as_oid().ok()) {
                    Some(curve) => match curve.as_bytes() {
                        P256 => plain(KeyAlgorithm::EcP256),
                        P384 => plain(KeyAlgorithm::EcP384),
                        P521 => plain(KeyAlgorithm::EcP521),
                        _ => Err(format!("an EC key on {}", name_of(&curve, KEYS))),
                    },
                    None => Err("an EC key with explicit curve parameters".to_owned()),
                }
            }
            _ => Err(format!("a key of type {}", name_of(info.algorithm.oid(), KEYS))),
        };
        const USE: &str = "use RSA of 2048 to 8192 bits, or EC on P-256, P-384 or P-521";
        match found {
            Ok(key) => {
                let refusal = match key.algorithm {
                    KeyAlgorithm::Rsa { bits } | KeyAlgorithm::RsaPss { bits }
                        if !key.algorithm.is_accepted() =>
                    {
                        Some(format!("an RSA key of {bits} bits is refused: {USE}"))
                    }
                    _ => None,
                };
                (key, refusal)
            }
            Err(what) => (
                Self { algorithm: KeyAlgorithm::Unsupported, only: None },
                Some(format!("{what} is refused: {USE}")),
            ),
        }
    }

    /// How to verify a signature of kind `signature` under such a key.
    ///
    /// # Errors
    /// The pair is weak or unsupported, or a key of this kind cannot have made such a signature.
    pub fn verification(
        self,
        signature: SignatureAlgorithm,
    ) -> Result<&'static dyn VerificationAlgorithm, IssuerError> {
        use KeyAlgorithm as Key;
        use SignatureAlgorithm as Sig;
        if self.only.is_some_and(|only| only != signature) {
            return Err(match signature {
                Sig::Unsupported => IssuerError::UnsupportedAlgorithm,
                _ => IssuerError::BadSignature,
            });
        }
        Ok(match (self.algorithm, signature) {
            (Key::Unsupported, _) | (_, Sig::Unsupported) => return Err(IssuerError::UnsupportedAlgorithm),
            (Key::Rsa { bits } | Key::RsaPss { bits }, _) if !RSA_BITS.contains(&bits) => {
                return Err(IssuerError::UnsupportedAlgorithm);
            }
            (Key::Rsa { .. }, Sig::RsaPkcs1Sha256) => &lc::RSA_PKCS1_2048_8192_SHA256,
            (Key::Rsa { .. }, Sig::RsaPkcs1Sha384) => &lc::RSA_PKCS1_2048_8192_SHA384,
            (Key::Rsa { .. }, Sig::RsaPkcs1Sha512) => &lc::RSA_PKCS1_2048_8192_SHA512,
            (Key::Rsa { .. } | Key::RsaPss { .. }, Sig::RsaPssSha256) => &lc::RSA_PSS_2048_8192_SHA256,
            (Key::Rsa { .. } | Key::RsaPss { .. }, Sig::RsaPssSha384) => &lc::RSA_PSS_2048_8192_SHA384,
            (Key::Rsa { .. } | Key::RsaPss { .. }, Sig::RsaPssSha512) => &lc::RSA_PSS_2048_8192_SHA512,
            (Key::EcP256, Sig::EcdsaSha256) => &lc::ECDSA_P256_SHA256_ASN1,
            (Key::EcP256, Sig::EcdsaSha384) => &lc::ECDSA_P256_SHA384_ASN1,
            (Key::EcP256, Sig::EcdsaSha512) => &lc::ECDSA_P256_SHA512_ASN1,
            (Key::EcP384, Sig::EcdsaSha256) => &lc::ECDSA_P384_SHA256_ASN1,
            (Key::EcP384, Sig::EcdsaSha384) => &lc::ECDSA_P384_SHA384_ASN1,
            (Key::EcP384, Sig::EcdsaSha512) => &lc::ECDSA_P384_SHA512_ASN1,
            (Key::EcP521, Sig::EcdsaSha256) => &lc::ECDSA_P521_SHA256_ASN1,
            (Key::EcP521, Sig::EcdsaSha384) => &lc::ECDSA_P521_SHA384_ASN1,
            (Key::EcP521, Sig::EcdsaSha512) => &lc::ECDSA_P521_SHA512_ASN1,
            _ => return Err(IssuerError::BadSignature),
        })
    }
}

impl SignatureAlgorithm {
    /// Made with an EC key?
    pub(crate) const fn is_ecdsa(self) -> bool {
        matches!(self, Self::EcdsaSha256 | Self::EcdsaSha384 | Self::EcdsaSha512)
    }
    /// The signature's kind, and for a refused one why.
    pub(crate) fn read(identifier: &AlgorithmIdentifier<'_>) -> (Self, Option<String>) {
        let refused = |name: &str| {
            let reason = format!(
                "{name} is refused: sign with SHA-256, SHA-384 or SHA-512, by RSA (PKCS#1 v1.5 or PSS) or ECDSA"
            );
            (Self::Unsupported, Some(reason))
        };
        let known = match identifier.oid().as_bytes() {
            SHA256_WITH_RSA => Self::RsaPkcs1Sha256,
            SHA384_WITH_RSA => Self::RsaPkcs1Sha384,
            SHA512_WITH_RSA => Self::RsaPkcs1Sha512,
            ECDSA_WITH_SHA256 => Self::EcdsaSha256,
            ECDSA_WITH_SHA384 => Self::EcdsaSha384,
            ECDSA_WITH_SHA512 => Self::EcdsaSha512,
            // Salts of another length than the hash are legal, but nothing common makes or verifies them.
            RSASSA_PSS => match identifier.parameters().and_then(pss_hash) {
                Some(PssHash { algorithm, salt, digest }) if salt == digest => algorithm,
                Some(PssHash { salt, digest, .. }) => {
                    return refused(&format!("RSASSA-PSS with a salt of {salt} bytes instead of {digest}"));
                }
                None => return refused("RSASSA-PSS with SHA-1 or with unequal or unknown hashes"),
            },
            _ => return refused(&name_of(identifier.oid(), SIGNATURES)),
        };
        (known, None)
    }
}

struct PssHash {
    algorithm: SignatureAlgorithm,
    /// Lengths in bytes.
    salt: u32,
    digest: u32,
}

/// `None` unless the hash is SHA-256, -384 or -512, MGF1 uses the same one, and the trailer is the usual.
fn pss_hash(parameters: &Any<'_>) -> Option<PssHash> {
    let parameters = RsaSsaPssParams::try_from(parameters).ok()?;
    let (algorithm, digest) = match parameters.hash_algorithm_oid().as_bytes() {
        SHA256 => (SignatureAlgorithm::RsaPssSha256, 32),
        SHA384 => (SignatureAlgorithm::RsaPssSha384, 48),
        SHA512 => (SignatureAlgorithm::RsaPssSha512, 64),
        _ => return None,
    };
    // Not `mask_gen_algorithm()`: its hash is an `AlgorithmIdentifier`, of which only the start is wanted.
    let mask = parameters.mask_gen_algorithm_raw()?;
    let (_, mask_hash) = Oid::from_der(mask.parameters()?.data).ok()?;
    let same = mask.oid().as_bytes() == MGF1
        && mask_hash.as_bytes() == parameters.hash_algorithm_oid().as_bytes()
        && parameters.trailer_field() == 1;
    same.then(|| PssHash { algorithm, salt: parameters.salt_length(), digest })
}

fn bits(modulus: &[u8]) -> usize {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros).copied().unwrap_or_default();
    (modulus.len() - zeros) * 8 - if first == 0 { 0 } else { first.leading_zeros() as usize }
}

fn name_of(oid: &Oid<'_>, names: &[(&[u8], &str)]) -> String {
    names
        .iter()
        .find(|(bytes, _)| *bytes == oid.as_bytes())
        .map_or_else(|| format!("unknown type {}", name::oid_text(oid)), |(_, name)| (*name).to_owned())
}

pub(crate) const RSA_ENCRYPTION: &[u8] = &oid!(raw 1.2.840.113549.1.1.1);
const RSASSA_PSS: &[u8] = &oid!(raw 1.2.840.113549.1.1.10);
const MGF1: &[u8] = &oid!(raw 1.2.840.113549.1.1.8);
const EC_PUBLIC_KEY: &[u8] = &oid!(raw 1.2.840.10045.2.1);
const P256: &[u8] = &oid!(raw 1.2.840.10045.3.1.7);
const P384: &[u8] = &oid!(raw 1.3.132.0.34);
const P521: &[u8] = &oid!(raw 1.3.132.0.35);
const SHA256: &[u8] = &oid!(raw 2.16.840.1.101.3.4.2.1);
const SHA384: &[u8] = &oid!(raw 2.16.840.1.101.3.4.2.2);
const SHA512: &[u8] = &oid!(raw 2.16.840.1.101.3.4.2.3);
pub(crate) const SHA256_WITH_RSA: &[u8] = &oid!(raw 1.2.840.113549.1.1.11);
const SHA384_WITH_RSA: &[u8] = &oid!(raw 1.2.840.113549.1.1.12);
const SHA512_WITH_RSA: &[u8] = &oid!(raw 1.2.840.113549.1.1.13);
pub(crate) const ECDSA_WITH_SHA256: &[u8] = &oid!(raw 1.2.840.10045.4.3.2);
pub(crate) const ECDSA_WITH_SHA384: &[u8] = &oid!(raw 1.2.840.10045.4.3.3);
pub(crate) const ECDSA_WITH_SHA512: &[u8] = &oid!(raw 1.2.840.10045.4.3.4);

/// Refused signatures that have a name.
const SIGNATURES: &[(&[u8], &str)] = &[
    (&oid!(raw 1.2.840.113549.1.1.2), "md2WithRSAEncryption"),
    (&oid!(raw 1.2.840.113549.1.1.4), "md5WithRSAEncryption"),
    (&oid!(raw 1.2.840.113549.1.1.5), "sha1WithRSAEncryption"),
    (&oid!(raw 1.2.840.113549.1.1.14), "sha224WithRSAEncryption"),
    (&oid!(raw 1.2.840.10040.4.3), "dsa-with-SHA1"),
    (&oid!(raw 2.16.840.1.101.3.4.3.1), "dsa-with-SHA224"),
    (&oid!(raw 2.16.840.1.101.3.4.3.2), "dsa-with-SHA256"),
    (&oid!(raw 1.2.840.10045.4.1), "ecdsa-with-SHA1"),
    (&oid!(raw 1.2.840.10045.4.3.1), "ecdsa-with-SHA224"),
    (&oid!(raw 1.3.101.112), "Ed25519"),
    (&oid!(raw 1.3.101.113), "Ed448"),
];

/// Refused keys and curves that have a name.
const KEYS: &[(&[u8], &str)] = &[
    (&oid!(raw 1.2.840.10040.4.1), "DSA"),
    (&oid!(raw 1.3.101.110), "X25519"),
    (&oid!(raw 1.3.101.112), "Ed25519"),
    (&oid!(raw 1.3.101.113), "Ed448"),
    (&oid!(raw 1.2.840.10045.3.1.1), "P-192"),
    (&oid!(raw 1.3.132.0.33), "P-224"),
    (&oid!(raw 1.3.132.0.10), "secp256k1"),
    (&oid!(raw 1.3.36.3.3.2.8.1.1.7), "brainpoolP256r1"),
    (&oid!(raw 1.3.36.3.3.2.8.1.1.11), "brainpoolP384r1"),
    (&oid!(raw 1.3.36.3.3.2.8.1.1.13), "brainpoolP512r1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_the_highest_one() {
        assert_eq!(bits(&[]), 0);
        assert_eq!(bits(&[0, 0]), 0);
        assert_eq!(bits(&[0, 0x80]), 8);
        assert_eq!(bits(&[0x01, 0]), 9);
    }

    #[test]
    fn a_pss_only_key_does_not_verify_pkcs1_signatures() {
        let key = PublicKeyKind { algorithm: KeyAlgorithm::RsaPss { bits: 2048 }, only: None };
        assert_eq!(
            key.verification(SignatureAlgorithm::RsaPkcs1Sha256).err(),
            Some(IssuerError::BadSignature)
        );
        assert!(key.verification(SignatureAlgorithm::RsaPssSha384).is_ok());
        let bound = PublicKeyKind { only: Some(SignatureAlgorithm::RsaPssSha256), ..key };
        assert_eq!(
            bound.verification(SignatureAlgorithm::RsaPssSha384).err(),
            Some(IssuerError::BadSignature)
        );
        assert!(bound.verification(SignatureAlgorithm::RsaPssSha256).is_ok());
    }

    #[test]
    fn short_rsa_keys_verify_nothing() {
        let key = PublicKeyKind { algorithm: KeyAlgorithm::Rsa { bits: 1024 }, only: None };
        assert_eq!(
            key.verification(SignatureAlgorithm::RsaPkcs1Sha256).err(),
            Some(IssuerError::UnsupportedAlgorithm)
        );
    }
}

//! The token that shows that who calls RegisterThing is who got the certificate (`spec/fleet-provisioning.md` section 4).
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::store::Table;
use crate::tx::Tx;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use zeroize::Zeroizing;

/// The format of a token. It rises with every change to what a token says.
const VERSION: u8 = 1;
const SECRET: &[u8] = b"ownership-tokens";
const SECRET_LENGTH: usize = 32;
/// Version, certificate, end, claim.
const BODY: usize = 1 + 32 + 8 + 32;
const MAC: usize = 32;
/// No token of any format is longer, in characters.
const LONGEST: usize = 400;

/// An ownership token: 140 characters of `[A-Za-z0-9_-]`. It is a secret: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnershipToken(Zeroizing<String>);

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The certificate that was given out.
    pub certificate_id: CertificateId,
    /// Who it was given to: the certificate of that connection.
    pub claim_certificate_id: CertificateId,
    /// Until when the token is valid.
    pub expires_at: Timestamp,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnershipTokenError {
    /// It is empty.
    #[error("Certificate ownership token cannot be empty.")]
    Empty,
    /// This registry has not given it out, or someone has changed it.
    #[error("Certificate ownership token is invalid.")]
    Invalid,
    /// Its time is over: the device asks for a new certificate.
    #[error("Certificate ownership token has expired.")]
    Expired,
    /// The registry cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl OwnershipToken {
    /// The text, for the one reply that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn seal(ownership: &Ownership, secret: &[u8], account: &str) -> Self {
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.push(VERSION);
        bytes.extend_from_slice(ownership.certificate_id.as_bytes());
        bytes.extend_from_slice(&ownership.expires_at.0.to_be_bytes());
        bytes.extend_from_slice(ownership.claim_certificate_id.as_bytes());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed(&bytes, account));
        bytes.extend_from_slice(tag.as_ref());
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub(super) fn open(
        &self,
        secret: &[u8],
        account: &str,
        now: Timestamp,
    ) -> Result<Ownership, OwnershipTokenError> {
        if self.0.is_empty() {
            return Err(OwnershipTokenError::Empty);
        }
        let ownership = self.read(secret, account).ok_or(OwnershipTokenError::Invalid)?;
        if now >= ownership.expires_at {
            return Err(OwnershipTokenError::Expired);
        }
        Ok(ownership)
    }

    fn read(&self, secret: &[u8], account: &str) -> Option<Ownership> {
        if self.0.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(self.0.as_bytes()).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY)?;
        // Compares in constant time.
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed(body, account), tag).ok()?;
        let (version, rest) = body.split_first()?;
        let (certificate, rest) = rest.split_first_chunk::<32>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let claim = <[u8; 32]>::try_from(rest).ok()?;
        (*version == VERSION).then(|| Ownership {
            certificate_id: CertificateId::from_bytes(*certificate),
            claim_certificate_id: CertificateId::from_bytes(claim),
            expires_at: Timestamp(u64::from_be_bytes(*end)),
        })
    }
}

/// What the tag covers: the token is this account's, and no other kind of message under the same secret is one.
fn signed(body: &[u8], account: &str) -> Vec<u8> {
    [b"jitp certificate ownership\0", account.as_bytes(), b"\0", body].concat()
}

/// The secret under the tokens of this registry: 256 random bits, made when first needed.
pub(super) async fn secret(tx: &mut Tx) -> Result<Zeroizing<Vec<u8>>, RegistryError> {
    if let Some(secret) = tx.row(Table::Secrets, SECRET).await? {
        return Ok(Zeroizing::new(secret.to_vec()));
    }
    let mut secret = Zeroizing::new(vec![0; SECRET_LENGTH]);
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| RegistryError::Internal("the operating system gave no random numbers".into()))?;
    tx.put_row(Table::Secrets, SECRET.to_vec(), secret.to_vec());
    Ok(secret)
}

impl From<&str> for OwnershipToken {
    /// A text that a device presents as one.
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}
impl fmt::Debug for OwnershipToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "000000000000";

    fn ownership() -> Ownership {
        Ownership {
            certificate_id: CertificateId::from_bytes([7; 32]),
            claim_certificate_id: CertificateId::from_bytes([9; 32]),
            expires_at: Timestamp(5_000),
        }
    }

    #[test]
    fn a_token_reads_back_until_it_ends_and_fits_the_buffers_of_devices() {
        let token = OwnershipToken::seal(&ownership(), &[1; 32], ACCOUNT);
        assert_eq!(token.open(&[1; 32], ACCOUNT, Timestamp(4_999)), Ok(ownership()));
        assert_eq!(token.open(&[1; 32], ACCOUNT, Timestamp(5_000)), Err(OwnershipTokenError::Expired));
        assert!(token.expose().len() <= 400);
        assert!(token.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(format!("{token:?}"), "(hidden)");
    }

    #[test]
    fn whatever_is_changed_of_a_token_makes_it_invalid() {
        let token = OwnershipToken::seal(&ownership(), &[1; 32], ACCOUNT);
        let open = |text: &str| OwnershipToken::from(text).open(&[1; 32], ACCOUNT, Timestamp(0));
        let bytes = URL_SAFE_NO_PAD.decode(token.expose()).unwrap();
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            assert_eq!(
                open(&URL_SAFE_NO_PAD.encode(changed)),
                Err(OwnershipTokenError::Invalid),
                "{position}"
            );
            assert_eq!(
                open(&URL_SAFE_NO_PAD.encode(&bytes[..position])),
                match position {
                    0 => Err(OwnershipTokenError::Empty),
                    _ => Err(OwnershipTokenError::Invalid),
                }
            );
        }
        let long = token.expose().repeat(1000);
        for text in ["x", "ä", &long, &format!("{} ", token.expose()), &format!("{}A", token.expose())] {
            assert_eq!(open(text), Err(OwnershipTokenError::Invalid));
        }
    }

    #[test]
    fn a_token_of_another_registry_or_account_is_invalid() {
        let token = OwnershipToken::seal(&ownership(), &[1; 32], ACCOUNT);
        assert_eq!(token.open(&[2; 32], ACCOUNT, Timestamp(0)), Err(OwnershipTokenError::Invalid));
        assert_eq!(token.open(&[1; 32], "000000000001", Timestamp(0)), Err(OwnershipTokenError::Invalid));
    }
}

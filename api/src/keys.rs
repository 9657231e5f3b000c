//! Who may call.
use std::str::FromStr;

use jitp_provisioner::{AccessKeyStatus, Registry, Role};
use scratchstack_aws_signature::KSecretKey;

use crate::error::ApiError;

/// The longest secret that can be verified, in bytes. AWS's own have exactly this length.
const LONGEST_SECRET: usize = 40;

/// An access key of an operator. `Debug` does not show the secret.
#[derive(Clone)]
pub struct AccessKey {
    /// The public half: what `AWS_ACCESS_KEY_ID` holds. 1 to 128 printable ASCII characters without `/`, `,` and `=`.
    pub id: String,
    /// The secret half: what `AWS_SECRET_ACCESS_KEY` holds. 1 to 40 bytes.
    pub secret: zeroize::Zeroizing<String>,
}
impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys that the API accepts beside the stored ones. They may do everything.
#[derive(Debug, Clone, Default)]
pub struct AccessKeys(pub Vec<AccessKey>);

impl AccessKeys {
    /// Says what is wrong with the first key that cannot work. Never shows a secret.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (index, key) in self.0.iter().enumerate() {
            if !is_legal_id(&key.id) {
                return Err(format!(
                    "the access key id {:?} is not 1 to 128 printable ASCII characters without / , =",
                    key.id.chars().take(128).collect::<String>()
                ));
            }
            if key.secret.is_empty() || key.secret.len() > LONGEST_SECRET || key.secret.contains('\0') {
                return Err(format!("the secret of the access key {:?} is not 1 to 40 bytes long", key.id));
            }
            if self.0.iter().take(index).any(|other| other.id == key.id) {
                return Err(format!("the access key id {:?} is configured twice", key.id));
            }
        }
        Ok(())
    }

    /// The key with this id: one of these, which may do everything, or a stored one.
    pub(crate) async fn find(&self, registry: &Registry, id: &str) -> Result<Option<KnownKey>, ApiError> {
        if let Some(own) = self.0.iter().find(|key| key.id == id) {
            return Ok(signing_secret(&own.secret).map(|secret| KnownKey {
                id: id.to_string(),
                role: Role::Admin,
                active: true,
                secret,
            }));
        }
        if !is_legal_id(id) {
            return Ok(None);
        }
        let Some(stored) = registry.access_key(id).await? else { return Ok(None) };
        Ok(signing_secret(stored.secret.expose()).map(|secret| KnownKey {
            id: stored.id,
            role: stored.role,
            active: stored.status == AccessKeyStatus::Active,
            secret,
        }))
    }
}

/// A key that the API knows, ready to verify with.
pub(crate) struct KnownKey {
    pub id: String,
    pub role: Role,
    pub active: bool,
    pub secret: KSecretKey,
}

fn is_legal_id(id: &str) -> bool {
    let legal = |c: char| c.is_ascii_graphic() && !"/,=".contains(c);
    (1..=128).contains(&id.len()) && id.chars().all(legal)
}

/// A secret, ready for key derivation. `None`: it is longer than 40 bytes.
pub(crate) fn signing_secret(secret: &str) -> Option<KSecretKey> {
    // The library takes secrets of exactly 40 bytes. HMAC pads a short key with zeros itself, so that a secret padded
    // with zeros up to there yields the same signatures.
    let zeros = "\0".repeat(LONGEST_SECRET.saturating_sub(secret.len()));
    let padded = zeroize::Zeroizing::new(format!("{secret}{zeros}"));
    KSecretKey::from_str(&padded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> AccessKeys {
        let key = |(id, secret): &(&str, &str)| AccessKey {
            id: (*id).to_string(),
            secret: (*secret).to_string().into(),
        };
        AccessKeys(pairs.iter().map(key).collect())
    }

    #[test]
    fn a_key_that_cannot_work_is_named_without_its_secret() {
        let long = "x".repeat(41);
        for (pairs, expected) in [
            (vec![("", "s")], "\"\" is not 1 to 128"),
            (vec![("a/b", "s")], "\"a/b\" is not 1 to 128"),
            (vec![("A", "")], "\"A\" is not 1 to 40"),
            (vec![("A", long.as_str())], "\"A\" is not 1 to 40"),
            (vec![("A", "s"), ("A", "t")], "\"A\" is configured twice"),
        ] {
            let error = keys(&pairs).check().unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(&long));
        }
        assert_eq!(keys(&[("A", "s"), ("B", "s")]).check(), Ok(()));
    }

    #[test]
    fn secrets_shorter_than_those_of_aws_and_with_letters_beyond_ascii_work() {
        for secret in ["s", "tést", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"] {
            assert!(signing_secret(secret).is_some(), "{secret}");
        }
        assert!(signing_secret(&"x".repeat(41)).is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", keys(&[("A", "hush")])).contains("hush"));
    }
}

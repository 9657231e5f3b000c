//! Who may call.
use std::str::FromStr;

use scratchstack_aws_signature::KSecretKey;

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

/// The keys that the API accepts.
#[derive(Debug, Clone, Default)]
pub struct AccessKeys(pub Vec<AccessKey>);

impl AccessKeys {
    /// Says what is wrong with the first key that cannot work. Never shows a secret.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (index, key) in self.0.iter().enumerate() {
            let legal = |c: char| c.is_ascii_graphic() && !"/,=".contains(c);
            if !(1..=128).contains(&key.id.len()) || !key.id.chars().all(legal) {
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

    /// The secret of a key, ready for key derivation.
    pub(crate) fn secret(&self, id: &str) -> Option<KSecretKey> {
        let key = self.0.iter().find(|key| key.id == id)?;
        // The library takes secrets of exactly 40 bytes. HMAC pads a short key with zeros itself, so that a secret
        // padded with zeros up to there yields the same signatures.
        let zeros = "\0".repeat(LONGEST_SECRET.saturating_sub(key.secret.len()));
        let padded = zeroize::Zeroizing::new(format!("{}{zeros}", key.secret.as_str()));
        KSecretKey::from_str(&padded).ok()
    }
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
            assert!(keys(&[("A", secret)]).secret("A").is_some(), "{secret}");
        }
        assert!(keys(&[("A", "s")]).secret("B").is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", keys(&[("A", "hush")])).contains("hush"));
    }
}

//! How a hook knows that the broker asks: an HMAC over the time and the body, under a secret that both know.
use anyhow::{Context, bail};
use aws_lc_rs::hmac;
use std::path::Path;
use zeroize::Zeroizing;

/// Seconds since the Unix epoch when the question was signed.
pub const TIMESTAMP_HEADER: &str = "x-jitp-timestamp";
/// `sha256=` and the HMAC-SHA256 in lower-case hex of the timestamp, a full stop and the body.
pub const SIGNATURE_HEADER: &str = "x-jitp-signature";

/// Fewer bytes can be guessed.
const LEAST_BYTES: usize = 16;

/// The secret under the signatures of one hook.
pub struct Secret(hmac::Key);

impl Secret {
    /// From a file or an environment variable, without the white space around it; `None` if neither is named.
    pub fn find(file: Option<&Path>, variable: Option<&str>) -> anyhow::Result<Option<Self>> {
        let (text, origin) = match (file, variable) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => bail!("give one of secret_file and secret_env"),
            (Some(file), None) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read secret_file {}", file.display()))?;
                (Zeroizing::new(text), file.display().to_string())
            }
            (None, Some(variable)) => {
                let text = std::env::var(variable)
                    .with_context(|| format!("secret_env names {variable}, which is not set"))?;
                (Zeroizing::new(text), variable.to_owned())
            }
        };
        let secret = text.trim();
        if secret.len() < LEAST_BYTES {
            bail!("the secret in {origin} has {} bytes: take at least {LEAST_BYTES}", secret.len());
        }
        Ok(Some(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))))
    }

    /// The signature of a body that is sent at this time.
    pub fn sign(&self, unix_seconds: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(unix_seconds.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        let hex = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("sha256={hex}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_computes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "correct horse battery\n").unwrap();
        let secret = Secret::find(Some(&file), None).unwrap().unwrap();
        // printf '1767225600.{"a":1}' | openssl dgst -sha256 -hmac 'correct horse battery'
        let expected = "sha256=4b454ab446769cec4a58d32b0af4359b7c419736efb449eb7bdaf88e4dfd23bf";
        assert_eq!(secret.sign(1_767_225_600, br#"{"a":1}"#), expected);
    }

    #[test]
    fn a_short_secret_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "   short   \n").unwrap();
        let text = Secret::find(Some(&file), None).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains("at least 16"), "{text}");
        assert!(Secret::find(None, None).unwrap().is_none());
    }
}

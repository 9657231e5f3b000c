//! Access keys: made at first start, found in the data directory, the environment or the AWS configuration files.
use crate::exit::InvalidInput;
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// An access key with its secret. `Debug` does not show the secret.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    /// A new key in AWS's form.
    pub fn generate() -> anyhow::Result<Self> {
        let (id, secret) = jitp_provisioner::access_key::generate()?;
        Ok(Self { id, secret: Zeroizing::new(secret.expose().to_owned()) })
    }

    /// The text of an AWS shared-credentials file with this key as `[default]`.
    pub fn to_shared_credentials(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            self.id,
            self.secret.as_str()
        ))
    }
}

/// The key that two environment variables hold. One without the other is an error.
pub fn from_environment(id: &str, secret: &str) -> anyhow::Result<Option<Key>> {
    match (std::env::var(id).ok(), std::env::var(secret).ok()) {
        (Some(key_id), Some(key_secret)) => {
            let legal = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
            if !(4..=128).contains(&key_id.len())
                || !legal(&key_id)
                || key_secret.len() < 8
                || !legal(&key_secret)
            {
                return Err(InvalidInput(format!(
                    "{id} must be 4 to 128 printable characters without spaces, {secret} 8 to 40 of them"
                ))
                .into());
            }
            Ok(Some(Key { id: key_id, secret: Zeroizing::new(key_secret) }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(InvalidInput(format!("{id} is set, but {secret} is not: set both")).into()),
        (None, Some(_)) => Err(InvalidInput(format!("{secret} is set, but {id} is not: set both")).into()),
    }
}

/// The key of a profile in a shared-credentials file; `None` when the file or the profile is missing.
pub fn from_shared_file(path: &Path, profile: &str) -> anyhow::Result<Option<Key>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let section = section(&text, profile);
    match (section.get("aws_access_key_id"), section.get("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            Ok(Some(Key { id: (*id).to_owned(), secret: Zeroizing::new((*secret).to_owned()) }))
        }
        _ => Ok(None),
    }
}

/// The key that a command uses, in this order: the broker's own variables, the data directory, AWS's variables, AWS's
/// files with `AWS_PROFILE`.
pub fn find(data_dir: &Path) -> anyhow::Result<Key> {
    if let Some(key) = from_environment("JITP_ACCESS_KEY_ID", "JITP_SECRET_ACCESS_KEY")? {
        return Ok(key);
    }
    let own = data_dir.join("credentials");
    if let Some(key) = from_shared_file(&own, "default")? {
        return Ok(key);
    }
    if let Some(key) = from_environment("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")? {
        return Ok(key);
    }
    let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".into());
    let in_config = if profile == "default" { profile.clone() } else { format!("profile {profile}") };
    for (variable, usual, section) in [
        ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", &profile),
        ("AWS_CONFIG_FILE", ".aws/config", &in_config),
    ] {
        let path = std::env::var_os(variable).map(PathBuf::from);
        let path = path.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(usual)));
        if let Some(path) = path
            && let Some(key) = from_shared_file(&path, section)?
        {
            return Ok(key);
        }
    }
    Err(InvalidInput(format!(
        "no access key found: looked in JITP_ACCESS_KEY_ID, {}, AWS_ACCESS_KEY_ID and profile {profile:?} of AWS's \
         credentials and config files; give the broker's data directory with --data-dir",
        own.display()
    ))
    .into())
}

fn section<'a>(text: &'a str, name: &str) -> BTreeMap<&'a str, &'a str> {
    let mut inside = false;
    let mut found = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = title.trim() == name;
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            found.insert(key.trim(), value.trim());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_looks_like_one_of_aws_and_reads_back() {
        let key = Key::generate().unwrap();
        assert_eq!((key.id.len(), key.secret.len()), (20, 40));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials");
        std::fs::write(&path, key.to_shared_credentials().as_str()).unwrap();
        let read = from_shared_file(&path, "default").unwrap().unwrap();
        assert_eq!((read.id, read.secret), (key.id, key.secret));
    }

    #[test]
    fn a_profile_is_read_from_its_own_section() {
        let text = "[a]\naws_access_key_id=1\n# aws_access_key_id=2\n[b]\naws_access_key_id = 3\n";
        assert_eq!(section(text, "a").get("aws_access_key_id"), Some(&"1"));
        assert_eq!(section(text, "b").get("aws_access_key_id"), Some(&"3"));
        assert!(section(text, "c").is_empty());
    }

    #[test]
    fn debug_output_hides_the_secret() {
        let key = Key::generate().unwrap();
        assert!(!format!("{key:?}").contains(key.secret.as_str()));
    }
}

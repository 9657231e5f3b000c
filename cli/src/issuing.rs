//! The section `[issuing]` of the configuration: the CA, and what it issues.
use crate::exit::InvalidInput;
use anyhow::{Context, bail};
use jitp_certs::{Attribute, ExtendedKeyUsage, KeyKind, KeyUsage, LeafUsage, PrivateKeyPem};
use jitp_provisioner::issuing::{IssuingCa, IssuingOptions};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuing {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub issuer: String,
    pub validity_days: u32,
    pub subject: Vec<String>,
    pub key_usage: Vec<String>,
    pub extended_key_usage: Vec<String>,
    pub key_algorithm: KeyAlgorithm,
    pub rsa_key_pool: usize,
    pub token_lifetime_seconds: u64,
    pub claim_lifetime_seconds: u64,
    pub claim_grace_seconds: u64,
    pub renewal_grace_days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyAlgorithm {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
    P521,
}

/// The longest lifetime: AWS's certificates are good for less.
const MAX_DAYS: u32 = 100 * 365;
/// Keys that are kept in memory: some megabytes.
const MAX_KEYS: usize = 10_000;
const WEEK: u64 = 7 * 24 * 3600;

impl Issuing {
    /// The rules that types alone do not carry.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.certificate.as_os_str().is_empty() != self.key.as_os_str().is_empty() {
            bail!("issuing.certificate and issuing.key belong together: give both, or neither");
        }
        if self.validity_days > MAX_DAYS {
            bail!("issuing.validity_days is {}: it must be 0 to {MAX_DAYS}", self.validity_days);
        }
        if self.renewal_grace_days > MAX_DAYS {
            bail!("issuing.renewal_grace_days is {}: it must be 0 to {MAX_DAYS}", self.renewal_grace_days);
        }
        if self.rsa_key_pool > MAX_KEYS {
            bail!("issuing.rsa_key_pool is {}: it must be 0 to {MAX_KEYS}", self.rsa_key_pool);
        }
        for (key, seconds, least) in [
            ("token_lifetime_seconds", self.token_lifetime_seconds, 1),
            ("claim_lifetime_seconds", self.claim_lifetime_seconds, 1),
            ("claim_grace_seconds", self.claim_grace_seconds, 0),
        ] {
            if !(least..=WEEK).contains(&seconds) {
                bail!("issuing.{key} is {seconds}: it must be {least} to {WEEK}");
            }
        }
        self.subject()?;
        self.usage()?;
        Ok(())
    }

    /// Reads the CA's files.
    pub fn options(&self) -> anyhow::Result<IssuingOptions> {
        Ok(IssuingOptions {
            ca: self.ca()?,
            issuer: Some(self.issuer.clone()).filter(|arn| !arn.is_empty()),
            lifetime: (self.validity_days > 0)
                .then(|| Duration::from_secs(u64::from(self.validity_days) * 24 * 3600)),
            subject: self.subject()?,
            usage: self.usage()?,
            keys: match self.key_algorithm {
                KeyAlgorithm::Rsa2048 => KeyKind::Rsa2048,
                KeyAlgorithm::Rsa3072 => KeyKind::Rsa3072,
                KeyAlgorithm::Rsa4096 => KeyKind::Rsa4096,
                KeyAlgorithm::P256 => KeyKind::EcP256,
                KeyAlgorithm::P384 => KeyKind::EcP384,
                KeyAlgorithm::P521 => KeyKind::EcP521,
            },
            key_pool: self.rsa_key_pool,
            token_lifetime: Duration::from_secs(self.token_lifetime_seconds),
            claim_lifetime: Duration::from_secs(self.claim_lifetime_seconds),
            claim_grace: Duration::from_secs(self.claim_grace_seconds),
            renewal_grace: Duration::from_secs(u64::from(self.renewal_grace_days) * 24 * 3600),
        })
    }

    fn ca(&self) -> anyhow::Result<Option<IssuingCa>> {
        if self.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let read = |key: &str, path: &PathBuf| {
            let invalid =
                |error| InvalidInput(format!("cannot read issuing.{key} {}: {error}", path.display()));
            std::fs::read_to_string(path).map_err(invalid)
        };
        let certificate = read("certificate", &self.certificate)?;
        let key = Zeroizing::new(read("key", &self.key)?);
        let private_key = PrivateKeyPem::from_pem(&key)
            .map_err(|error| InvalidInput(format!("issuing.key {}: {error}", self.key.display())))?;
        Ok(Some(IssuingCa { certificate, private_key }))
    }

    fn subject(&self) -> anyhow::Result<Vec<(Attribute, String)>> {
        let attribute = |text: &String| {
            let (name, value) = text.split_once('=')?;
            let attribute =
                Attribute::ALL.into_iter().find(|attribute| attribute.short_name() == name.trim())?;
            let value = value.trim();
            // The bounds of a common name (RFC 5280 appendix A).
            (1..=64).contains(&value.chars().count()).then(|| (attribute, value.to_owned()))
        };
        let known = || Attribute::ALL.map(Attribute::short_name).join(", ");
        let attributes = self.subject.iter().map(|text| {
            attribute(text).with_context(|| {
                format!(
                    "issuing.subject has {text:?}: write NAME=VALUE with 1 to 64 characters; names are {}",
                    known()
                )
            })
        });
        let attributes: Vec<_> = attributes.collect::<anyhow::Result<_>>()?;
        if attributes.is_empty() || attributes.len() > 10 {
            bail!("issuing.subject has {} attributes: give 1 to 10", attributes.len());
        }
        Ok(attributes)
    }

    fn usage(&self) -> anyhow::Result<LeafUsage> {
        Ok(LeafUsage {
            key: parsed::<KeyUsage>("key_usage", &self.key_usage)?,
            extended: parsed::<ExtendedKeyUsage>("extended_key_usage", &self.extended_key_usage)?,
        })
    }
}

fn parsed<U: std::str::FromStr<Err = String>>(key: &str, names: &[String]) -> anyhow::Result<Vec<U>> {
    let parse = |name: &String| name.parse().map_err(|error| anyhow::anyhow!("issuing.{key}: {error}"));
    names.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn refused(section: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("site.toml");
        std::fs::write(&file, format!("[issuing]\n{section}")).unwrap();
        format!("{:#}", Config::load(Some(&file)).unwrap_err())
    }

    #[test]
    fn a_profile_that_cannot_be_issued_is_refused_with_what_to_write() {
        for (section, expected) in [
            ("certificate = \"ca.pem\"", "belong together"),
            ("validity_days = 100000", "0 to 36500"),
            ("rsa_key_pool = 100000", "0 to 10000"),
            ("claim_lifetime_seconds = 0", "1 to 604800"),
            ("subject = []", "give 1 to 10"),
            ("subject = [\"Pump\"]", "NAME=VALUE"),
            ("subject = [\"L=Oslo\"]", "names are dnQualifier, C"),
            ("key_usage = [\"keyCertSign\"]", "is none of digitalSignature"),
            ("extended_key_usage = [\"all\"]", "is none of clientAuth"),
            ("key_algorithm = \"dsa\"", "rsa2048"),
        ] {
            let error = refused(section);
            assert!(error.contains(expected), "{section}: {error}");
        }
    }
}

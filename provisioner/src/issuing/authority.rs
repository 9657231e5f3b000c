//! The issuing CA: the operator's, or the broker's own, made at first start.
use super::{END_OF_2049, IssuingCa};
use crate::error::RegistryError;
use jitp_certs::{Attribute, Authority, KeyKind, PrivateKeyPem, Validity};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const DAY: i64 = 24 * 3600;
/// At least so long is a new CA valid.
const LEAST_LIFE: i64 = 20 * 365 * DAY;
const CERTIFICATE: &str = "issuing-ca.pem";
const KEY: &str = "issuing-ca.key";

/// The operator's CA if one is given, else that of the directory; made if there is none. Its certificate is checked: it may
/// issue, it has this key, and it is valid now.
pub(super) fn open(
    directory: &Path,
    given: Option<&IssuingCa>,
    now: i64,
) -> Result<Authority, RegistryError> {
    let (authority, origin) = match given {
        Some(ca) => {
            let origin = "the configured issuing CA".to_owned();
            let authority = Authority::from_pem(&ca.certificate, ca.private_key.expose());
            (authority.map_err(|error| invalid(format!("{origin} cannot be used: {error}")))?, origin)
        }
        None => (own(directory, now)?, format!("the issuing CA in {}", directory.display())),
    };
    authority.certificate().check_validity(now).map_err(|error| {
        let advice = match given {
            Some(_) => "configure a valid one, or correct the clock",
            None => "correct the clock, or remove issuing-ca.pem: a new certificate is made for the same key",
        };
        invalid(format!("{origin} cannot be used: {error}; {advice}"))
    })?;
    Ok(authority)
}

fn own(directory: &Path, now: i64) -> Result<Authority, RegistryError> {
    let certificate = read(&directory.join(CERTIFICATE))?;
    let key = read(&directory.join(KEY))?.map(zeroize::Zeroizing::new);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Authority::from_pem(&certificate, &key).map_err(|error| {
            invalid(format!(
                "the issuing CA in {} is damaged: {error}; restore {CERTIFICATE} and {KEY}, or remove both for a new CA",
                directory.display()
            ))
        }),
        (Some(_), None) => Err(invalid(format!(
            "{} has {CERTIFICATE} but not its key {KEY}: restore it, or remove both for a new CA",
            directory.display()
        ))),
        // Also where a first start was cut off in between: the key comes first.
        (None, key) => make(directory, key.as_deref().map(String::as_str), now),
    }
}

fn make(directory: &Path, key: Option<&str>, now: i64) -> Result<Authority, RegistryError> {
    let failed = |error: jitp_certs::CertificateError| {
        invalid(format!("an issuing CA cannot be made in {}: {error}", directory.display()))
    };
    let subject =
        [(Attribute::Organization, "jitp".to_owned()), (Attribute::CommonName, "jitp issuing CA".to_owned())];
    let validity = Validity { not_before: now - DAY, not_after: END_OF_2049.max(now + LEAST_LIFE) };
    let authority = match key {
        Some(key) => Authority::create_for_key(&subject, validity, key).map_err(failed)?,
        None => {
            let key = PrivateKeyPem::generate(KeyKind::EcP256).map_err(failed)?;
            write(&directory.join(KEY), key.expose(), 0o600)?;
            Authority::create_for_key(&subject, validity, key.expose()).map_err(failed)?
        }
    };
    write(&directory.join(CERTIFICATE), &authority.certificate().to_pem(), 0o644)?;
    Ok(authority)
}

fn read(path: &Path) -> Result<Option<String>, RegistryError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(invalid(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Whole or not at all: a temporary file, synced, renamed.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), RegistryError> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    written.map_err(|error| invalid(format!("cannot write {}: {error}", path.display())))
}

fn invalid(message: String) -> RegistryError {
    RegistryError::InvalidRequest(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: i64 = 1_790_000_000;

    fn given(authority: &Authority, key: &PrivateKeyPem) -> IssuingCa {
        IssuingCa { certificate: authority.certificate().to_pem(), private_key: key.clone() }
    }
    fn ca(validity: Validity) -> Authority {
        Authority::create(&[(Attribute::CommonName, "Works".to_owned())], validity, KeyKind::EcP256).unwrap()
    }

    #[test]
    fn the_first_start_makes_a_ca_that_later_ones_keep() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path(), None, NOW).unwrap();
        let again = open(directory.path(), None, NOW + 10 * 365 * DAY).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        let mode = std::fs::metadata(directory.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(first.certificate().is_ca());
    }

    #[test]
    fn a_ca_without_its_certificate_gets_a_new_one_for_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path(), None, NOW).unwrap();
        std::fs::remove_file(directory.path().join(CERTIFICATE)).unwrap();
        let again = open(directory.path(), None, NOW).unwrap();
        assert_ne!(first.certificate(), again.certificate());
        assert_eq!(first.certificate().public_key_info(), again.certificate().public_key_info());
    }

    #[test]
    fn a_ca_without_its_key_or_with_another_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), None, NOW).unwrap();
        let other = PrivateKeyPem::generate(KeyKind::EcP256).unwrap();
        std::fs::write(directory.path().join(KEY), other.expose()).unwrap();
        let error = open(directory.path(), None, NOW).unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("restore"), "{error}");
        std::fs::remove_file(directory.path().join(KEY)).unwrap();
        let error = open(directory.path(), None, NOW).unwrap_err().to_string();
        assert!(error.contains("not its key"), "{error}");
    }

    #[test]
    fn a_given_ca_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let valid = Validity { not_before: 0, not_after: 4_000_000_000 };
        let good = ca(valid);
        let opened = open(directory.path(), Some(&given(&good, good.private_key())), NOW).unwrap();
        assert_eq!(opened.certificate(), good.certificate());
        assert!(!directory.path().join(KEY).exists(), "the broker makes none beside it");

        let refused = |ca: &IssuingCa| open(directory.path(), Some(ca), NOW).unwrap_err().to_string();
        let other = ca(valid);
        assert!(refused(&given(&good, other.private_key())).contains("not the one of the CA certificate"));
        let old = ca(Validity { not_before: 0, not_after: NOW - 1 });
        assert!(refused(&given(&old, old.private_key())).contains("expired"));
        let leaf = good.issue_verification("code", valid).unwrap();
        let leaf = IssuingCa { certificate: leaf.certificate.to_pem(), private_key: leaf.private_key };
        assert!(refused(&leaf).contains("not a CA certificate"));
    }
}

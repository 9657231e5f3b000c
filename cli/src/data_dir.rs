//! The data directory: what `serve` keeps beside the registry, made at first start.
use crate::credentials::{self, Key};
use anyhow::{Context, bail};
use jitp_broker::ServerIdentity;
use jitp_certs::{Attribute, Authority, KeyKind, Validity};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const DAY: i64 = 24 * 3600;
const CA_DAYS: i64 = 3650;
const SERVER_DAYS: i64 = 825;
/// A server certificate is renewed at a start when less than this is left of it.
const RENEW_DAYS: i64 = 60;

pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Makes the directory (0700) if it is missing.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What devices trust: the CA of the server's certificate.
    pub fn server_ca(&self) -> PathBuf {
        self.path.join("server-ca.pem")
    }

    pub fn credentials(&self) -> PathBuf {
        self.path.join("credentials")
    }

    /// The server's certificate and key, made at first start, and again when it is about to expire or lacks a name.
    pub fn server_identity(&self, hosts: &[String], now: i64) -> anyhow::Result<ServerIdentity> {
        let authority = self.server_authority(now)?;
        let certificate_path = self.path.join("server.pem");
        let key_path = self.path.join("server.key");
        let names_path = self.path.join("server.names");
        let (names, addresses) = split_hosts(hosts);
        let wanted = format!("{}\n", hosts.join("\n"));
        if let (Ok(certificate), Ok(private_key), Ok(has)) = (
            std::fs::read_to_string(&certificate_path),
            std::fs::read_to_string(&key_path),
            std::fs::read_to_string(&names_path),
        ) && has == wanted
        {
            let parsed = jitp_certs::Certificate::from_pem(&certificate)
                .with_context(|| format!("{} is damaged", certificate_path.display()))?;
            if parsed.validity().not_after > now + RENEW_DAYS * DAY {
                return Ok(ServerIdentity {
                    certificate_chain: certificate + &authority.certificate().to_pem(),
                    private_key,
                });
            }
        }
        let validity = Validity { not_before: now - DAY, not_after: now + SERVER_DAYS * DAY };
        let issued = authority.issue_server(&names, &addresses, validity)?;
        let certificate = issued.certificate.to_pem();
        write_file(&key_path, issued.private_key.expose(), 0o600)?;
        write_file(&certificate_path, &certificate, 0o644)?;
        write_file(&names_path, &wanted, 0o644)?;
        Ok(ServerIdentity {
            certificate_chain: certificate + &authority.certificate().to_pem(),
            private_key: issued.private_key.expose().to_owned(),
        })
    }

    fn server_authority(&self, now: i64) -> anyhow::Result<Authority> {
        let (certificate_path, key_path) = (self.server_ca(), self.path.join("server-ca.key"));
        match (std::fs::read_to_string(&certificate_path), std::fs::read_to_string(&key_path)) {
            (Ok(certificate), Ok(key)) => Authority::from_pem(&certificate, &key).with_context(|| {
                format!(
                    "the server CA in {} is damaged: restore it, or remove server-ca.* for a new one",
                    self.path.display()
                )
            }),
            (Err(_), Err(_)) => {
                let subject = [
                    (Attribute::Organization, "jitp".into()),
                    (Attribute::CommonName, "jitp server CA".into()),
                ];
                let validity = Validity { not_before: now - DAY, not_after: now + CA_DAYS * DAY };
                let authority = Authority::create(&subject, validity, KeyKind::EcP256)?;
                write_file(&key_path, authority.private_key().expose(), 0o600)?;
                write_file(&certificate_path, &authority.certificate().to_pem(), 0o644)?;
                Ok(authority)
            }
            _ => bail!(
                "{} has only one of server-ca.pem and server-ca.key: restore the other, or remove both for a new server CA",
                self.path.display()
            ),
        }
    }

    /// The operator's access key: from the environment where it is set, else from `credentials`, else a new one.
    pub fn access_key(&self) -> anyhow::Result<Key> {
        let path = self.credentials();
        if let Some(key) = credentials::from_environment("JITP_ACCESS_KEY_ID", "JITP_SECRET_ACCESS_KEY")? {
            write_file(&path, &key.to_shared_credentials(), 0o600)?;
            return Ok(key);
        }
        if path.exists() {
            return credentials::from_shared_file(&path, "default")?
                .with_context(|| format!("{} has no [default] access key", path.display()));
        }
        let key = Key::generate()?;
        write_file(&path, &key.to_shared_credentials(), 0o600)?;
        Ok(key)
    }
}

/// localhost, the loopback addresses, this host's name, and those asked for; each once, in that order.
pub fn server_hosts(further: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    let own = hostname::get().ok().and_then(|name| name.into_string().ok());
    for host in own.into_iter().chain(further.iter().cloned()) {
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn split_hosts(hosts: &[String]) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    for host in hosts {
        match host.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(host.clone()),
        }
    }
    (names, addresses)
}

/// Writes a file whole or not at all: a temporary file, synced, renamed over the old one.
pub fn write_file(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: i64 = 1_790_000_000;

    #[test]
    fn the_first_start_makes_an_identity_and_later_ones_keep_it() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(&directory.path().join("data")).unwrap();
        let hosts = server_hosts(&["broker.example".into(), "192.0.2.7".into()]);
        let first = data.server_identity(&hosts, NOW).unwrap();
        let again = data.server_identity(&hosts, NOW + DAY).unwrap();
        assert_eq!(first.certificate_chain, again.certificate_chain);
        let renewed = data.server_identity(&hosts, NOW + (SERVER_DAYS - RENEW_DAYS + 1) * DAY).unwrap();
        assert_ne!(first.certificate_chain, renewed.certificate_chain);
        let other_names = data.server_identity(&server_hosts(&[]), NOW).unwrap();
        assert_ne!(renewed.certificate_chain, other_names.certificate_chain);
    }

    #[test]
    fn keys_and_credentials_are_readable_by_their_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(directory.path()).unwrap();
        data.server_identity(&server_hosts(&[]), NOW).unwrap();
        let key = data.access_key().unwrap();
        assert_eq!(data.access_key().unwrap().id, key.id);
        for file in ["server-ca.key", "server.key", "credentials"] {
            let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn half_a_server_ca_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(directory.path()).unwrap();
        data.server_identity(&server_hosts(&[]), NOW).unwrap();
        std::fs::remove_file(directory.path().join("server-ca.key")).unwrap();
        let error = data.server_identity(&server_hosts(&[]), NOW).err().unwrap();
        assert!(error.to_string().contains("only one of"), "{error}");
    }
}

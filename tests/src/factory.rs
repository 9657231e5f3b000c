//! A factory: a CA, its registration, and the devices that it makes.
use crate::Broker;
use anyhow::Context;
use jitp_certs::{Attribute, Authority, Certificate, Issued, KeyKind, LeafRequest, PrivateKeyPem, Validity};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 24 * 3600;

/// Seconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs() as i64).unwrap_or_default()
}

/// A CA with its files in a directory of its own.
pub struct Factory {
    authority: Authority,
    directory: tempfile::TempDir,
}

/// A device's certificate and key, as files and as values.
pub struct DeviceFiles {
    /// The certificate and key.
    pub issued: Issued,
    /// PEM file of the leaf.
    pub certificate_file: PathBuf,
    /// PEM file of the leaf and its CA.
    pub chain_file: PathBuf,
    /// PEM file of the key.
    pub key_file: PathBuf,
}

impl std::ops::Deref for DeviceFiles {
    type Target = Issued;
    fn deref(&self) -> &Issued {
        &self.issued
    }
}

impl DeviceFiles {
    /// The certificate id, hex.
    pub fn id(&self) -> String {
        self.issued.certificate.id().to_string()
    }
}

impl Factory {
    /// A new CA of this name, valid around now.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        Self::with_validity(name, Validity { not_before: now() - DAY, not_after: now() + 365 * DAY })
    }

    /// A new CA with a validity of its own.
    pub fn with_validity(name: &str, validity: Validity) -> anyhow::Result<Self> {
        let authority =
            Authority::create(&[(Attribute::CommonName, name.into())], validity, KeyKind::EcP256)?;
        Self::of(authority)
    }

    /// A CA that exists already.
    pub fn from_pem(certificate: &str, private_key: &str) -> anyhow::Result<Self> {
        Self::of(Authority::from_pem(certificate, private_key)?)
    }

    fn of(authority: Authority) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("ca.pem"), authority.certificate().to_pem())?;
        std::fs::write(directory.path().join("ca.key"), authority.private_key().expose())?;
        Ok(Self { authority, directory })
    }

    /// The CA itself.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The CA certificate's id, hex.
    pub fn id(&self) -> String {
        self.authority.certificate().id().to_string()
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file in its directory.
    pub fn file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Registers the CA with a template of its own: active, auto-registration on.
    pub fn register(&self, broker: &Broker, template: &str) -> anyhow::Result<()> {
        let body = self.file("template.json", template)?;
        self.register_with(broker, &["--template-body", path(&body)?])
    }

    /// Registers the CA with further arguments of `jitp ca register`.
    pub fn register_with(&self, broker: &Broker, arguments: &[&str]) -> anyhow::Result<()> {
        let (certificate, key) = (self.directory.path().join("ca.pem"), self.directory.path().join("ca.key"));
        let mut all = vec!["ca", "register", "--cert", path(&certificate)?, "--key", path(&key)?];
        all.extend(arguments);
        broker.ask(&all).map(|_| ())
    }

    /// A device with this common name, valid around now.
    pub fn device(&self, name: &str) -> anyhow::Result<DeviceFiles> {
        self.device_with(
            vec![(Attribute::CommonName, name.into())],
            Validity { not_before: now() - DAY, not_after: now() + 300 * DAY },
        )
    }

    /// A device with a subject and validity of its own.
    pub fn device_with(
        &self,
        subject: Vec<(Attribute, String)>,
        validity: Validity,
    ) -> anyhow::Result<DeviceFiles> {
        self.files(self.authority.issue_device(&LeafRequest { subject, validity, key: KeyKind::EcP256 })?)
    }

    /// Devices `PREFIX-0`, `PREFIX-1` … that all have the same key, which makes them quick to make; no files.
    pub fn devices(&self, prefix: &str, count: usize) -> anyhow::Result<Vec<Issued>> {
        let key = PrivateKeyPem::generate(KeyKind::EcP256)?;
        let validity = Validity { not_before: now() - DAY, not_after: now() + 300 * DAY };
        let issue = |number| {
            let subject = vec![(Attribute::CommonName, format!("{prefix}-{number}"))];
            let request = LeafRequest { subject, validity, key: KeyKind::EcP256 };
            Ok(self.authority.issue_device_for_key(&request, key.expose())?)
        };
        (0..count).map(issue).collect()
    }

    /// A device whose certificate was made elsewhere.
    pub fn foreign_device(&self, certificate: &str, private_key: &str) -> anyhow::Result<DeviceFiles> {
        self.files(Issued {
            certificate: Certificate::from_pem(certificate)?,
            private_key: PrivateKeyPem::from_pem(private_key)?,
        })
    }

    fn files(&self, issued: Issued) -> anyhow::Result<DeviceFiles> {
        let id = issued.certificate.id();
        let pem = issued.certificate.to_pem();
        Ok(DeviceFiles {
            certificate_file: self.file(&format!("{id}.pem"), &pem)?,
            chain_file: self
                .file(&format!("{id}.chain.pem"), &(pem + &self.authority.certificate().to_pem()))?,
            key_file: self.file(&format!("{id}.key"), issued.private_key.expose())?,
            issued,
        })
    }
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

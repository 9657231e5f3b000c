//! The CA and the devices of a run, made before any clock starts.
use crate::mqtt;
use anyhow::Context;
use jitp_certs::{Attribute, Authority, KeyKind, KeyPair, LeafRequest, PrivateKeyPem, Validity};
use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 24 * 3600;

/// What the template makes of a device: a thing, a certificate, and one policy that all share.
pub const TEMPLATE: &str = include_str!("template.json");

/// A factory: a CA, and one private key that all of its devices share, so that making many is cheap.
pub struct Factory {
    authority: Authority,
    device_key: PrivateKeyPem,
    signing_key: Arc<dyn SigningKey>,
    /// Of the certificate signing requests.
    next_key: KeyPair,
    validity: Validity,
}

/// Where the files are that servers read.
pub struct Files {
    pub directory: PathBuf,
}

/// A device, ready to connect.
pub struct Device {
    /// Common name, thing name and client id.
    pub name: String,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// The same for TLS.
    pub resolver: Arc<dyn ResolvesClientCert>,
    /// Its CONNECT, encoded.
    pub connect: Vec<u8>,
}

impl Factory {
    /// A new CA and device key (P-256).
    pub fn new() -> anyhow::Result<Self> {
        let validity = validity()?;
        let subject = [(Attribute::CommonName, "jitp-bench factory".to_owned())];
        Self::of(Authority::create(&subject, validity, KeyKind::EcP256)?)
    }

    /// The CA of another process of the same run.
    pub fn load(files: &Files) -> anyhow::Result<Self> {
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Self::of(Authority::from_pem(&read(files.ca())?, &read(files.ca_key())?)?)
    }

    fn of(authority: Authority) -> anyhow::Result<Self> {
        let device_key = PrivateKeyPem::generate(KeyKind::EcP256)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(device_key.to_der().to_vec()));
        let (signing_key, next_key) = (signing_key(der)?, KeyPair::generate(KeyKind::EcP256)?);
        Ok(Self { authority, device_key, signing_key, next_key, validity: validity()? })
    }

    /// The CA.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Validity of everything that is made here.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Devices `<prefix>-0000000` and on.
    pub fn devices(&self, prefix: &str, count: usize) -> anyhow::Result<Vec<Device>> {
        self.devices_from(prefix, 0, count)
    }

    /// Devices `<prefix>-<start>` and on.
    pub fn devices_from(&self, prefix: &str, start: usize, count: usize) -> anyhow::Result<Vec<Device>> {
        on_two_cores(start..start + count, |number| self.device(name(prefix, number)))
    }

    /// Certificate signing requests (PEM) of as many devices, which all have the same key.
    pub fn signing_requests(&self, prefix: &str, count: usize) -> anyhow::Result<Vec<String>> {
        self.signing_requests_from(prefix, 0, count)
    }

    /// Those of `<prefix>-<start>` and on.
    pub fn signing_requests_from(
        &self,
        prefix: &str,
        start: usize,
        count: usize,
    ) -> anyhow::Result<Vec<String>> {
        on_two_cores(start..start + count, |number| {
            Ok(self.next_key.sign_request(&[(Attribute::CommonName, name(prefix, number))])?)
        })
    }

    fn device(&self, name: String) -> anyhow::Result<Device> {
        let subject = vec![(Attribute::CommonName, name.clone())];
        let request = LeafRequest { subject, validity: self.validity, key: KeyKind::EcP256 };
        let issued = self.authority.issue_device_for_key(&request, self.device_key.expose())?;
        let certificate = CertificateDer::from(issued.certificate.der().to_vec());
        Ok(Device::new(name, certificate, self.signing_key.clone()))
    }

    /// Writes what servers need: the CA with its key, the template, and a server's identity for the peers of jitp.
    pub fn write(&self, directory: &Path) -> anyhow::Result<Files> {
        let files = Files { directory: directory.to_owned() };
        let subject = [(Attribute::CommonName, "jitp-bench server CA".to_owned())];
        let authority = Authority::create(&subject, self.validity, KeyKind::EcP256)?;
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let server = authority.issue_server(&["localhost".to_owned()], &[localhost], self.validity)?;
        std::fs::write(files.ca(), self.authority.certificate().to_pem())?;
        std::fs::write(files.ca_key(), self.authority.private_key().expose())?;
        std::fs::write(files.template(), TEMPLATE)?;
        std::fs::write(files.server(), server.certificate.to_pem() + &authority.certificate().to_pem())?;
        std::fs::write(files.server_key(), server.private_key.expose())?;
        Ok(files)
    }
}

impl Device {
    fn new(name: String, certificate: CertificateDer<'static>, key: Arc<dyn SigningKey>) -> Self {
        let key = CertifiedKey::new(vec![certificate.clone()], key);
        let resolver = Arc::new(SingleCertAndKey::from(key));
        Self { connect: mqtt::connect(&name), name, certificate, resolver }
    }

    /// A device whose certificate and key (PEM) were made elsewhere.
    pub fn from_pem(name: String, certificate: &str, key: &str) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        let key = signing_key(PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        Ok(Self::new(name, certificate, key))
    }

    /// The same certificate in the hands of another client.
    pub fn shared_with(&self, client_id: String) -> Self {
        Self {
            connect: mqtt::connect(&client_id),
            name: client_id,
            certificate: self.certificate.clone(),
            resolver: self.resolver.clone(),
        }
    }

    /// The same device with a session that outlives its connections.
    pub fn persistent(&self) -> Self {
        Self {
            name: self.name.clone(),
            certificate: self.certificate.clone(),
            resolver: self.resolver.clone(),
            connect: mqtt::connect_persistent(&self.name),
        }
    }
}

impl Files {
    /// The CA that issues devices.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("factory-ca.pem")
    }
    /// Its key.
    pub fn ca_key(&self) -> PathBuf {
        self.directory.join("factory-ca.key")
    }
    /// The provisioning template.
    pub fn template(&self) -> PathBuf {
        self.directory.join("template.json")
    }
    /// Certificate chain of the peers of jitp.
    pub fn server(&self) -> PathBuf {
        self.directory.join("server.pem")
    }
    /// Its key.
    pub fn server_key(&self) -> PathBuf {
        self.directory.join("server.key")
    }
}

/// The name of a device: common name, client id and thing name.
pub fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:07}")
}

fn on_two_cores<T: Send>(
    numbers: Range<usize>,
    make: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let half = numbers.start + numbers.len() / 2;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| (numbers.start..half).map(&make).collect::<anyhow::Result<Vec<_>>>());
        let mut second = (half..numbers.end).map(&make).collect::<anyhow::Result<Vec<_>>>()?;
        let mut all = first.join().map_err(|_| anyhow::anyhow!("making certificates failed"))??;
        all.append(&mut second);
        Ok(all)
    })
}

fn signing_key(key: PrivateKeyDer<'static>) -> anyhow::Result<Arc<dyn SigningKey>> {
    Ok(rustls::crypto::aws_lc_rs::default_provider().key_provider.load_private_key(key)?)
}

fn validity() -> anyhow::Result<Validity> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    Ok(Validity { not_before: now - DAY, not_after: now + 30 * DAY })
}

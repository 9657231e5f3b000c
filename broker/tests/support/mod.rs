//! A broker over a registry in a temporary directory, and devices that speak TLS and bytes.
#![allow(dead_code, reason = "each test file uses a part of it")]

mod packets;

pub use packets::*;

use jitp_broker::{Broker, Config, Limits, Listener, Profile, Protocol, ServerIdentity};
use jitp_provisioner::certs::{Attribute, Authority, Issued, KeyKind, LeafRequest, Validity};
use jitp_provisioner::names::{CertificateId, PolicyName};
use jitp_provisioner::records::RegistrationConfig;
use jitp_provisioner::registry::RegisterCaCertificate;
use jitp_provisioner::{
    Attempt, AttemptFilter, Clock, Options, Provisioner, ReasonCode, Registry, SystemClock,
};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(120);
const DAY: i64 = 24 * 3600;

/// Lets devices do everything.
pub const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;

/// Names a thing after the certificate's common name and attaches the policy `devices`.
const TEMPLATE: &str = r#"{
    "Parameters": {
        "AWS::IoT::Certificate::CommonName": {"Type": "String"},
        "AWS::IoT::Certificate::Id": {"Type": "String"}
    },
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing",
                  "Properties": {"ThingName": {"Ref": "AWS::IoT::Certificate::CommonName"}}},
        "certificate": {"Type": "AWS::IoT::Certificate",
                  "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "devices"}}
    }
}"#;

pub struct World {
    pub provisioner: Provisioner,
    pub broker: Broker,
    pub ca: Authority,
    server_ca: Authority,
    config: Config,
    _directory: tempfile::TempDir,
}

impl World {
    /// A broker of the standard profile whose devices may do everything.
    pub async fn new() -> Self {
        Self::with(EVERYTHING, |_| ()).await
    }

    pub async fn with(policy: &str, configure: impl FnOnce(&mut Config)) -> Self {
        let options = Options { runs_per_certificate_per_second: 0, ..Options::default() };
        Self::new_with_options(policy, options, configure).await
    }

    pub async fn new_with_options(
        policy: &str,
        options: Options,
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let provisioner = Provisioner::open(directory.path(), options, clock).await.unwrap();
        let (ca, server_ca) = (authority("devices"), authority("servers"));
        provisioner.registry().create_policy(policy_name(), policy).await.unwrap();
        let code = provisioner.registry().registration_code().await.unwrap();
        let request = RegisterCaCertificate {
            ca_certificate: ca.certificate().to_pem(),
            verification_certificate: Some(
                ca.issue_verification(&code, validity()).unwrap().certificate.to_pem(),
            ),
            set_as_active: true,
            allow_auto_registration: true,
            registration_config: Some(RegistrationConfig {
                template_name: None,
                template_body: Some(TEMPLATE.into()),
                role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
            }),
            ..RegisterCaCertificate::default()
        };
        provisioner.registry().register_ca_certificate(request).await.unwrap();

        let mut config = Config {
            listeners: vec![Listener {
                address: "127.0.0.1:0".parse().unwrap(),
                protocol: Protocol::Mqtts,
                proxies: None,
                name: "tests".into(),
            }],
            profile: Profile::Standard,
            limits: Limits::default(),
            disconnect_at_expiry: false,
            recheck_connect: false,
            http: None,
        };
        configure(&mut config);
        let broker = start(&config, &server_ca, &provisioner).await;
        Self { provisioner, broker, ca, server_ca, config, _directory: directory }
    }

    /// The same registry under a new broker.
    pub async fn restart(self) -> Self {
        self.broker.shutdown(PATIENCE).await;
        let broker = start(&self.config, &self.server_ca, &self.provisioner).await;
        Self { broker, ..self }
    }

    /// What another broker says that cannot start over the same registry.
    pub async fn refused(&self, configure: impl FnOnce(&mut Config)) -> std::io::Error {
        let mut config = self.config.clone();
        configure(&mut config);
        try_start(&config, &self.server_ca, &self.provisioner).await.map(drop).unwrap_err()
    }

    pub fn registry(&self) -> &Registry {
        self.provisioner.registry()
    }

    pub fn server_ca_pem(&self) -> String {
        self.server_ca.certificate().to_pem()
    }

    /// A device with a certificate that the broker has not seen.
    pub fn device(&self, name: &str) -> Device {
        self.device_until(name, validity())
    }

    pub fn device_until(&self, name: &str, validity: Validity) -> Device {
        let subject = vec![(Attribute::CommonName, name.into())];
        let request = LeafRequest { subject, validity, key: KeyKind::EcP256 };
        self.device_of(self.ca.issue_device(&request).unwrap())
    }

    /// A device with these PEM texts.
    pub fn device_of_pem(&self, certificate: &str, private_key: &str) -> Device {
        let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).unwrap();
        let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        Device { id: CertificateId::of_der(&leaf), tls: Arc::new(self.tls(Some((leaf, key)))) }
    }

    pub fn device_of(&self, issued: Issued) -> Device {
        let key = PrivateKeyDer::from_pem_slice(issued.private_key.expose().as_bytes()).unwrap();
        let leaf = CertificateDer::from(issued.certificate.der().to_vec());
        Device { id: issued.certificate.id(), tls: Arc::new(self.tls(Some((leaf, key)))) }
    }

    /// A TLS configuration that trusts the broker.
    pub fn tls(&self, identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(self.server_ca.certificate().der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            // Not with_client_auth_cert: that reads the certificate, and refuses X.509 version 1.
            Some((leaf, key)) => {
                let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
                let identity = CertifiedKey::new(vec![leaf], key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        config.resumption = Resumption::in_memory_sessions(4);
        config
    }

    pub async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.broker.local_address()).await.unwrap()
    }

    /// TLS without MQTT.
    pub async fn wire(&self, device: &Device) -> Wire {
        self.try_wire(&device.tls).await.unwrap()
    }

    pub async fn try_wire(&self, tls: &Arc<ClientConfig>) -> std::io::Result<Wire> {
        let name = ServerName::try_from("localhost").unwrap();
        let shaken = TlsConnector::from(Arc::clone(tls)).connect(name, self.tcp().await);
        Ok(Wire { stream: patiently(shaken).await? })
    }

    /// Connects with clean session and no will.
    pub async fn online(&self, device: &Device, version: u8, client_id: &str) -> Wire {
        let mut wire = self.wire(device).await;
        assert_eq!(wire.connect(&Connect::new(version, client_id)).await, 0);
        wire
    }

    /// Waits for an attempt with this reason.
    pub async fn attempt(&self, reason: ReasonCode) -> Attempt {
        let filter = AttemptFilter { reason: Some(reason), ..AttemptFilter::default() };
        let changes = self.provisioner.changes();
        let seen = async {
            loop {
                let before = changes.latest();
                let mut attempts = self.provisioner.attempts(&filter, None, 10).await.unwrap();
                if let Some(attempt) = attempts.pop() {
                    return attempt;
                }
                changes.beyond(before).await;
            }
        };
        timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("no attempt with {reason}"))
    }

    pub async fn set_policy(&self, document: &str) {
        self.registry().create_policy_version(&policy_name(), document, true).await.unwrap();
    }
}

async fn start(config: &Config, server_ca: &Authority, provisioner: &Provisioner) -> Broker {
    try_start(config, server_ca, provisioner).await.unwrap()
}

async fn try_start(
    config: &Config,
    server_ca: &Authority,
    provisioner: &Provisioner,
) -> std::io::Result<Broker> {
    let server = server_ca.issue_server(&["localhost".into()], &[], validity()).unwrap();
    let identity = ServerIdentity {
        certificate_chain: server.certificate.to_pem(),
        private_key: server.private_key.expose().to_owned(),
    };
    Broker::start(config.clone(), identity, provisioner.clone()).await
}

/// Waits for what must happen, far longer than it takes.
pub async fn patiently<T>(happens: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happens).await.expect("it does not happen")
}

/// The broker closes without having said anything; a reset is as good as an orderly end.
pub async fn closed(tcp: &mut TcpStream) {
    assert_eq!(patiently(tcp.read(&mut [0; 8])).await.unwrap_or(0), 0);
}

pub struct Device {
    pub id: CertificateId,
    pub tls: Arc<ClientConfig>,
}

/// A TLS connection of bytes.
pub struct Wire {
    pub stream: TlsStream<TcpStream>,
}

impl Wire {
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        patiently(sent).await.unwrap();
    }

    /// The next packet, whole; empty at the end of the connection.
    pub async fn packet(&mut self) -> Vec<u8> {
        patiently(self.read_packet()).await
    }

    async fn read_packet(&mut self) -> Vec<u8> {
        let mut packet = Vec::new();
        let mut remaining = 0;
        let mut shift = 0;
        loop {
            let Ok(byte) = self.stream.read_u8().await else { return Vec::new() };
            packet.push(byte);
            if packet.len() > 1 {
                remaining |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        let start = packet.len();
        packet.resize(start + remaining, 0);
        if self.stream.read_exact(&mut packet[start..]).await.is_err() {
            return Vec::new();
        }
        packet
    }

    /// Sends CONNECT; the code of CONNACK.
    pub async fn connect(&mut self, connect: &Connect<'_>) -> u8 {
        self.send(&connect.packet()).await;
        let packet = self.packet().await;
        assert_eq!(packet.first(), Some(&0x20), "no CONNACK but {packet:?}");
        packet[3]
    }

    /// The broker closes without another packet.
    pub async fn closed(&mut self) {
        assert_eq!(self.packet().await, Vec::<u8>::new());
    }

    /// MQTT 5: DISCONNECT with this code, then the end.
    pub async fn disconnected(&mut self, code: u8) {
        let packet = self.packet().await;
        assert_eq!((packet.first(), packet.get(2)), (Some(&0xe0), Some(&code)), "{packet:?}");
        self.closed().await;
    }

    pub async fn subscribe(&mut self, version: u8, filter: &str, qos: u8) -> u8 {
        self.send(&subscribe(version, 7, &[(filter, qos)])).await;
        let packet = self.packet().await;
        assert_eq!(packet[0], 0x90, "no SUBACK but {packet:?}");
        *packet.last().unwrap()
    }

    /// Everything that was sent before has been handled when the answer is here.
    pub async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert_eq!(self.packet().await, [0xd0, 0]);
    }

    /// The next PUBLISH as JSON.
    pub async fn event(&mut self) -> (String, serde_json::Value) {
        let packet = self.packet().await;
        let publish = Publish::read(&packet, 4);
        if publish.qos > 0 {
            self.send(&puback(publish.packet_id)).await;
        }
        (publish.topic, serde_json::from_slice(&publish.payload).unwrap())
    }
}

pub fn policy_name() -> PolicyName {
    "devices".parse().unwrap()
}

pub fn validity() -> Validity {
    let now = SystemClock.now().unix_seconds();
    Validity { not_before: now - DAY, not_after: now + 365 * DAY }
}

pub fn authority(name: &str) -> Authority {
    Authority::create(&[(Attribute::CommonName, name.into())], validity(), KeyKind::EcP256).unwrap()
}

/// Allows this and nothing else.
pub fn allow(statements: &[(&str, &str)]) -> String {
    let statements: Vec<_> = statements
        .iter()
        .map(|(action, resource)| {
            let resource = match resource.strip_prefix('*') {
                Some("") => "*".to_owned(),
                _ => format!("arn:aws:iot:us-east-1:000000000000:{resource}"),
            };
            serde_json::json!({ "Effect": "Allow", "Action": action, "Resource": resource })
        })
        .collect();
    serde_json::json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

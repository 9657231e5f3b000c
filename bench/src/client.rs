//! MQTT over TLS as a device speaks it, as cheaply as possible: the generator shares the machine with the server.
use crate::factory::Device;
use crate::frames::Frames;
use crate::mqtt;
use anyhow::{Context, bail, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The encrypted stream to a server.
pub type Stream = tokio_rustls::client::TlsStream<TcpStream>;

const DEADLINE: Duration = Duration::from_secs(30);

/// A server, as a client sees it.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The file with its certificate.
    pub certificate: PathBuf,
    base: ClientConfig,
}

/// A device that is connected: CONNACK has come.
pub struct Connected {
    /// For what comes next.
    pub stream: Stream,
    /// The handshake was abbreviated.
    pub resumed: bool,
}

impl Target {
    /// A server at an address, known by the first certificate of a PEM file.
    ///
    /// The client is the same for every peer: TLS 1.3, X25519, AES-128-GCM. It compares the server's certificate
    /// with the file and does no further work on it, because its work would be counted against the server.
    pub fn new(address: SocketAddr, certificate: &Path) -> anyhow::Result<Self> {
        let file = certificate.to_owned();
        let certificate = CertificateDer::from_pem_file(certificate)
            .with_context(|| format!("cannot read {}", certificate.display()))?;
        let provider = rustls::crypto::CryptoProvider {
            kx_groups: vec![kx_group::X25519],
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..aws_lc_rs::default_provider()
        };
        let mut base = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { certificate }))
            .with_no_client_auth();
        base.resumption = Resumption::disabled();
        Ok(Self { address, certificate: file, base })
    }

    /// Settings of a device: full handshakes only.
    pub fn full(&self, device: &Device) -> Arc<ClientConfig> {
        Arc::new(self.of(device))
    }

    /// Settings of a device that keeps its sessions and resumes them.
    pub fn resuming(&self, device: &Device) -> Arc<ClientConfig> {
        let mut config = self.of(device);
        config.resumption = Resumption::in_memory_sessions(1);
        Arc::new(config)
    }

    fn of(&self, device: &Device) -> ClientConfig {
        let mut config = self.base.clone();
        config.client_auth_cert_resolver = device.resolver.clone();
        config
    }

    /// TCP, TLS, CONNECT, CONNACK, which must be an accepting one.
    pub async fn connect(&self, device: &Device, config: Arc<ClientConfig>) -> anyhow::Result<Connected> {
        let (connected, code) = self.knock(device, config).await?;
        ensure!(code == mqtt::ACCEPTED, "{} cannot connect: CONNACK says {code}", device.name);
        Ok(connected)
    }

    /// TCP, TLS, CONNECT, CONNACK: gives its return code, too. If that is a refusal, the server closes.
    pub async fn knock(&self, device: &Device, config: Arc<ClientConfig>) -> anyhow::Result<(Connected, u8)> {
        match tokio::time::timeout(DEADLINE, self.open(device, config)).await {
            Ok(result) => result.with_context(|| format!("{} cannot connect", device.name)),
            Err(_) => bail!("{} was not connected within {DEADLINE:?}", device.name),
        }
    }

    async fn open(&self, device: &Device, config: Arc<ClientConfig>) -> anyhow::Result<(Connected, u8)> {
        let socket = TcpStream::connect(self.address).await.context("TCP")?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let mut stream = TlsConnector::from(config).connect(name, socket).await.context("TLS")?;
        stream.write_all(&device.connect).await?;
        stream.flush().await?;
        let mut answer = [0; mqtt::CONNECTED.len()];
        stream.read_exact(&mut answer).await.context("no CONNACK")?;
        let [_, _, _, code] = answer;
        ensure!(answer.starts_with(&[mqtt::CONNACK << 4]), "no CONNACK: {answer:?}");
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok((Connected { stream, resumed }, code))
    }
}

impl Connected {
    /// Subscribes and waits for the grants.
    pub async fn subscribe(&mut self, filters: &[&str], qos: u8) -> anyhow::Result<()> {
        self.stream.write_all(&mqtt::subscribe(filters, qos)).await?;
        self.stream.flush().await?;
        let mut buffer = [0; 256];
        let length = tokio::time::timeout(DEADLINE, self.stream.read(&mut buffer)).await??;
        let mut granted = Vec::new();
        Frames::default().feed(buffer.get(..length).unwrap_or_default(), |packet| {
            if packet.kind() == mqtt::SUBACK {
                granted.extend(packet.body.iter().skip(2).copied());
            }
        })?;
        let as_asked = granted.len() == filters.len() && granted.iter().all(|granted| *granted == qos);
        ensure!(as_asked, "SUBSCRIBE of {filters:?} at QoS {qos} was answered with {granted:?}");
        Ok(())
    }

    /// DISCONNECT, and closes.
    pub async fn disconnect(self) {
        goodbye(self.stream).await;
    }
}

/// DISCONNECT, and closes. The server may be faster in closing than we are in saying goodbye; both are fine.
pub async fn goodbye(mut stream: Stream) {
    let _ = stream.write_all(&mqtt::DISCONNECT).await;
    let _ = stream.shutdown().await;
}

/// The server is the one whose certificate we were given.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::BadSignature.into())
    }

    /// Both ends are processes of this run on the loopback interface.
    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

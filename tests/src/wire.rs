//! The thinnest client there is: TLS and hand-made packets, so that a test sees and sends exactly what it means to.
use crate::Broker;
use crate::patience::{LONG_PATIENCE, PATIENCE};
use anyhow::{Context, bail, ensure};
use jitp_certs::Issued;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A TLS configuration for a device: trusts the broker, shows `certificate` (PEM, leaf first).
pub fn tls(server_ca: &str, identity: Option<(&str, &str)>) -> anyhow::Result<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(server_ca.as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    // Not `with_client_auth_cert`: that would refuse to send some of the certificates that the broker must judge.
    let key =
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    let identity = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let mut config = builder.with_client_cert_resolver(Arc::new(identity));
    config.resumption = Resumption::in_memory_sessions(4);
    Ok(config)
}

/// [`tls`] for a device that sends its leaf alone.
pub fn device_tls(broker: &Broker, device: &Issued) -> anyhow::Result<Arc<ClientConfig>> {
    let identity = (device.certificate.to_pem(), device.private_key.expose());
    Ok(Arc::new(tls(&broker.server_ca()?, Some((&identity.0, identity.1)))?))
}

/// A connection of bytes.
pub struct Wire {
    stream: TlsStream<TcpStream>,
}

/// One packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: type and flags.
    pub header: u8,
    /// What follows the remaining length.
    pub body: Vec<u8>,
}

impl Frame {
    /// The packet type: 2 is CONNACK, 3 PUBLISH, 14 DISCONNECT …
    pub fn kind(&self) -> u8 {
        self.header >> 4
    }

    /// CONNACK: its code (return code, or reason code in MQTT 5).
    pub fn connack_code(&self) -> anyhow::Result<u8> {
        ensure!(self.kind() == 2, "not a CONNACK: {self:?}");
        self.body.get(1).copied().context("a CONNACK without a code")
    }

    /// The text of everything in it: for finding a Reason String.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    /// TCP and TLS as this device, no MQTT yet.
    pub async fn open(broker: &Broker, device: &Issued) -> anyhow::Result<Self> {
        Self::open_with(broker.mqtt(), device_tls(broker, device)?).await
    }

    /// TCP and TLS with a configuration of its own.
    pub async fn open_with(address: SocketAddr, config: Arc<ClientConfig>) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(address).await?, config).await
    }

    /// TLS on a TCP connection on which something may have been said already.
    pub async fn over(tcp: TcpStream, config: Arc<ClientConfig>) -> anyhow::Result<Self> {
        tcp.set_nodelay(true)?;
        let shaken = TlsConnector::from(config).connect(ServerName::try_from("localhost")?, tcp);
        let stream =
            tokio::time::timeout(LONG_PATIENCE, shaken).await.context("no end of the handshake")??;
        Ok(Self { stream })
    }

    /// Connects with MQTT 3.1.1 and returns the broker's answer.
    pub async fn connect(broker: &Broker, device: &Issued, client_id: &str) -> anyhow::Result<(Self, Frame)> {
        Self::connect_as(broker, device, &connect(4, client_id)).await
    }

    /// Connects with MQTT 5 and returns the broker's answer.
    pub async fn connect5(
        broker: &Broker,
        device: &Issued,
        client_id: &str,
    ) -> anyhow::Result<(Self, Frame)> {
        Self::connect_as(broker, device, &connect(5, client_id)).await
    }

    /// Connects with this CONNECT packet and returns the broker's answer.
    pub async fn connect_as(
        broker: &Broker,
        device: &Issued,
        packet: &[u8],
    ) -> anyhow::Result<(Self, Frame)> {
        let mut wire = Self::open(broker, device).await?;
        wire.send(packet).await?;
        let answer = wire.receive().await?.context("closed without CONNACK")?;
        Ok((wire, answer))
    }

    /// Was this TLS session resumed?
    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Publishes with QoS 1 on MQTT 3.1.1. `false`: the broker closed instead of acknowledging.
    pub async fn publishes(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<bool> {
        self.send(&publish(topic, payload, 1, 7)).await?;
        Ok(self.receive_kind(4).await?.is_some())
    }

    /// Publishes with QoS 1 on MQTT 5 and returns PUBACK's reason code.
    pub async fn publishes5(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<u8> {
        self.send(&publish5(topic, payload, 1, 7)).await?;
        let answer = self.receive_kind(4).await?.context("closed without PUBACK")?;
        Ok(answer.body.get(2).copied().unwrap_or(0))
    }

    /// PINGREQ, and PINGRESP comes.
    pub async fn ping(&mut self) -> anyhow::Result<()> {
        self.send(&PINGREQ).await?;
        self.receive_kind(13).await?.context("closed without PINGRESP").map(|_| ())
    }

    /// All that has come, without an acknowledgement of anything: what was in the session's queue when the first PINGREQ was read
    /// comes before the second PINGRESP.
    pub async fn heard(&mut self) -> anyhow::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        for _ in 0..2 {
            self.send(&PINGREQ).await?;
            loop {
                let frame = self.receive().await?.context("closed without PINGRESP")?;
                if frame.kind() == 13 {
                    break;
                }
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(tokio::time::timeout(LONG_PATIENCE, sent).await.context("the broker does not read")??)
    }

    /// The next packet; `None` when the broker closed.
    pub async fn receive(&mut self) -> anyhow::Result<Option<Frame>> {
        match tokio::time::timeout(PATIENCE, self.read_frame()).await {
            Ok(Ok(frame)) => Ok(Some(frame)),
            Ok(Err(error)) => match error.downcast_ref::<std::io::Error>() {
                Some(_) => Ok(None),
                None => Err(error),
            },
            Err(_) => bail!("silence for {PATIENCE:?}"),
        }
    }

    /// The next line of text, without its end.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        let line = async {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(self.stream.read_u8().await?);
            }
            anyhow::Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
        };
        tokio::time::timeout(PATIENCE, line).await.context("no line came")?
    }

    /// The next packet of this type; others are passed over. `None` when the broker closed first.
    pub async fn receive_kind(&mut self, kind: u8) -> anyhow::Result<Option<Frame>> {
        loop {
            match self.receive().await? {
                Some(frame) if frame.kind() == kind => return Ok(Some(frame)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    async fn read_frame(&mut self) -> anyhow::Result<Frame> {
        let header = self.stream.read_u8().await?;
        let mut length = 0usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(Frame { header, body })
    }
}

/// A packet: header byte, remaining length, body.
pub fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![header];
    let mut length = body.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn string(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

/// Seconds: no test is silent for so long, on however busy a machine.
pub(crate) const KEEP_ALIVE: u16 = 600;

/// CONNECT with clean session, a long keep alive, nothing else. Level 4 is MQTT 3.1.1, 5 is MQTT 5.
pub fn connect(level: u8, client_id: &str) -> Vec<u8> {
    let mut body = string("MQTT");
    body.extend([level, 2]);
    body.extend(KEEP_ALIVE.to_be_bytes());
    if level == 5 {
        body.push(0);
    }
    body.extend(string(client_id));
    packet(0x10, &body)
}

/// PUBLISH of MQTT 3.1.1; `id` for QoS above 0.
pub fn publish(topic: &str, payload: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

/// PUBLISH of MQTT 5 without properties.
pub fn publish5(topic: &str, payload: &[u8], qos: u8, id: u16) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    body.push(0);
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

/// SUBSCRIBE of MQTT 3.1.1 to one filter.
pub fn subscribe(filter: &str, qos: u8, id: u16) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(string(filter));
    body.push(qos);
    packet(0x82, &body)
}

/// CONNECT of MQTT 3.1.1 that keeps its session.
pub fn connect_persistent(client_id: &str) -> Vec<u8> {
    let mut body = string("MQTT");
    body.extend([4, 0]);
    body.extend(KEEP_ALIVE.to_be_bytes());
    body.extend(string(client_id));
    packet(0x10, &body)
}

/// PUBACK of MQTT 3.1.1.
pub fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

/// DISCONNECT.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

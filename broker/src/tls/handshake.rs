//! One TLS handshake, and what to say about one that fails.
use super::leaf;
use super::together::Together;
use crate::proxy_protocol::ProxyError;
use jitp_provisioner::ReasonCode;
use jitp_provisioner::certs::Certificate;
use rustls::{CertificateError, Error, InvalidMessage};
use rustls_pki_types::CertificateDer;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// The encrypted stream of a device.
pub(crate) type TlsStream = tokio_rustls::server::TlsStream<Together<TcpStream>>;

/// What the handshake told about the other side. On a resumed session the certificates are those of the
/// session.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Leaf first, as sent.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf, parsed.
    pub leaf: Certificate,
    /// SNI.
    pub server_name: Option<Arc<str>>,
}

/// Why no device came out of a TCP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandshakeFailure {
    pub reason: ReasonCode,
    /// For an operator: what happened, what to do.
    pub message: String,
    /// The client left without a word: port scans and health checks of load balancers do. Not worth an
    /// attempt.
    pub silent: bool,
}

/// Shakes hands. The caller bounds the time.
pub(crate) async fn handshake(
    acceptor: &TlsAcceptor,
    socket: TcpStream,
) -> Result<(TlsStream, Peer), HandshakeFailure> {
    match acceptor.accept(Together::new(socket)).into_fallible().await {
        Ok(mut stream) => {
            stream.get_mut().0.begun();
            let (_, session) = stream.get_ref();
            let chain = session.peer_certificates().unwrap_or_default();
            let leaf = chain.first().ok_or(Error::NoCertificatesPresented).and_then(leaf::parse);
            let peer = Peer {
                leaf: leaf.map_err(|error| failure(&error))?,
                chain: chain.iter().map(|c| c.clone().into_owned()).collect(),
                server_name: session.server_name().map(Arc::from),
            };
            Ok((stream, peer))
        }
        Err((error, mut socket)) => {
            // The alert that tells the client why. It may be gone already.
            let _ = socket.shutdown().await;
            Err(io_failure(&error))
        }
    }
}

impl HandshakeFailure {
    /// The first byte is not that of a TLS record; says what the client seems to speak. `None`: it is TLS.
    pub(crate) fn of_first_byte(byte: u8) -> Option<Self> {
        const TLS_HANDSHAKE: u8 = 0x16;
        const MQTT_CONNECT: u8 = 0x10;
        const PROXY_HEADER: u8 = b'\r';
        let message = match byte {
            TLS_HANDSHAKE => return None,
            MQTT_CONNECT => {
                "the client speaks MQTT without TLS; configure the device to use TLS on this port"
            }
            b'A'..=b'Z' => {
                "the client speaks plain text (HTTP?) without TLS; check the device's address, port and TLS settings"
            }
            PROXY_HEADER => {
                "a load balancer sends the PROXY protocol to a listener that does not expect it; set proxy_protocol for \
                 the listener (docs/listeners.md), or switch it off at the load balancer"
            }
            _ => "the client does not speak TLS; check the device's address, port and TLS settings",
        };
        Some(Self::new(ReasonCode::TlsHandshakeFailed, message.to_owned()))
    }

    /// The handshake took longer than allowed.
    pub(crate) fn too_slow(deadline: std::time::Duration) -> Self {
        let message = format!(
            "the TLS handshake did not finish within {deadline:?}; the network is too slow or the client stopped"
        );
        Self::new(ReasonCode::TlsHandshakeFailed, message)
    }

    /// The client closed before it said anything.
    pub(crate) fn nothing_said() -> Self {
        let message = "the client closed the connection before it said anything".to_owned();
        Self { silent: true, ..Self::new(ReasonCode::TlsHandshakeFailed, message) }
    }

    fn new(reason: ReasonCode, message: String) -> Self {
        Self { reason, message, silent: false }
    }
}

impl From<ProxyError> for HandshakeFailure {
    fn from(error: ProxyError) -> Self {
        let silent = matches!(error, ProxyError::Broken(_));
        Self { silent, ..Self::new(ReasonCode::TlsHandshakeFailed, error.to_string()) }
    }
}

fn io_failure(error: &io::Error) -> HandshakeFailure {
    if let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        return failure(tls);
    }
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => {
            "the client closed the connection during the TLS handshake; it may not trust the server's certificate"
                .to_owned()
        }
        _ => format!("the TLS handshake failed: {error}"),
    };
    HandshakeFailure::new(ReasonCode::TlsHandshakeFailed, message)
}

fn failure(error: &Error) -> HandshakeFailure {
    let tls = |message: String| HandshakeFailure::new(ReasonCode::TlsHandshakeFailed, message);
    match error {
        Error::NoCertificatesPresented => HandshakeFailure::new(
            ReasonCode::NotAuthenticated,
            "the client offered no certificate; configure the device's certificate and private key (of a kind that \
             TLS has a signature for)"
                .to_owned(),
        ),
        Error::InvalidCertificate(CertificateError::Other(refused)) => HandshakeFailure::new(
            ReasonCode::CertificateAlgorithmRefused,
            format!("{refused}: issue the device a certificate with an accepted key"),
        ),
        Error::InvalidCertificate(CertificateError::BadEncoding) => HandshakeFailure::new(
            ReasonCode::CertificateMalformed,
            "the client's certificate is not a well-formed X.509 certificate; issue it again".to_owned(),
        ),
        Error::InvalidCertificate(CertificateError::BadSignature) => tls(
            "the client does not hold the private key of the certificate it sent; check that the device's key and \
             certificate belong together"
                .to_owned(),
        ),
        Error::AlertReceived(alert) => tls(format!(
            "the client ended the TLS handshake with the alert {alert:?}; it may not trust the server's certificate: \
             install the server's CA on the device and check the host name"
        )),
        Error::NoApplicationProtocol => tls(
            "the client offers only application protocols (ALPN) that this port does not serve; use \
             \"x-amzn-mqtt-ca\" or none"
                .to_owned(),
        ),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            tls("the client does not speak TLS; check the device's address, port and TLS settings".to_owned())
        }
        other => tls(format!("the TLS handshake failed: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_mqtt_is_called_by_its_name() {
        assert!(HandshakeFailure::of_first_byte(0x16).is_none());
        let mqtt = HandshakeFailure::of_first_byte(0x10).unwrap();
        assert!(mqtt.message.contains("MQTT without TLS"), "{}", mqtt.message);
        assert_eq!(mqtt.reason, ReasonCode::TlsHandshakeFailed);
    }

    #[test]
    fn a_proxy_header_that_is_not_expected_says_how_it_would_be() {
        let failure = HandshakeFailure::of_first_byte(b'\r').unwrap();
        assert!(failure.message.contains("proxy_protocol"), "{}", failure.message);
    }

    #[test]
    fn each_failure_has_its_reason() {
        let reason = |e: Error| io_failure(&io::Error::new(io::ErrorKind::InvalidData, e)).reason;
        assert_eq!(reason(Error::NoCertificatesPresented), ReasonCode::NotAuthenticated);
        let encoding = Error::InvalidCertificate(CertificateError::BadEncoding);
        assert_eq!(reason(encoding), ReasonCode::CertificateMalformed);
        let weak =
            CertificateError::Other(rustls::OtherError(Arc::new(io::Error::other("RSA of 1024 bits"))));
        assert_eq!(reason(Error::InvalidCertificate(weak)), ReasonCode::CertificateAlgorithmRefused);
        assert_eq!(reason(Error::DecryptError), ReasonCode::TlsHandshakeFailed);
    }
}

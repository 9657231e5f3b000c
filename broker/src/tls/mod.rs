//! TLS towards devices (`spec/jitp.md` sections 4 and 8): any client leaf that parses is taken, possession of
//! its key is proved, and nothing else is decided here.
mod client_certificate;
mod handshake;
mod leaf;
mod public_key_info;
mod together;

pub(crate) use handshake::{HandshakeFailure, Peer, TlsStream, handshake};

use crate::server::ServerIdentity;
use client_certificate::AnyClientCertificate;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer, kx_group};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The ALPN value of MQTT with a client certificate.
const ALPN_MQTT_CERTIFICATE: &[u8] = b"x-amzn-mqtt-ca";
/// That of HTTP with a client certificate.
pub(crate) const ALPN_HTTP_CERTIFICATE: &[u8] = b"x-amzn-http-ca";

/// What a listener speaks: the ALPN values that it accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocols {
    Mqtt,
    MqttAndHttp,
    Http,
}

impl Protocols {
    fn alpn(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Mqtt => &[ALPN_MQTT_CERTIFICATE],
            Self::MqttAndHttp => &[ALPN_MQTT_CERTIFICATE, ALPN_HTTP_CERTIFICATE],
            Self::Http => &[b"http/1.1", ALPN_HTTP_CERTIFICATE],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// Builds the acceptor: TLS 1.2 and 1.3, a client certificate is mandatory, sessions resume by ticket.
///
/// Fails with `InvalidInput` when the identity is not a certificate chain with its key.
pub(crate) fn acceptor(identity: &ServerIdentity, protocols: Protocols) -> io::Result<TlsAcceptor> {
    let invalid = |what: &str, error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the server's own {what} cannot be used: {error}"),
        )
    };
    let chain = CertificateDer::pem_slice_iter(identity.certificate_chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| invalid("certificate chain", &e))?;
    if chain.is_empty() {
        return Err(invalid("certificate chain", &"it holds no CERTIFICATE block"));
    }
    let key = PrivateKeyDer::from_pem_slice(identity.private_key.as_bytes())
        .map_err(|e| invalid("private key", &e))?;

    let provider = Arc::new(provider());
    let verifier = Arc::new(AnyClientCertificate::new(provider.signature_verification_algorithms));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| invalid("TLS settings", &e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| invalid("certificate and key", &e))?;
    config.alpn_protocols = protocols.alpn();
    config.ticketer = Ticketer::new().map_err(|e| invalid("session ticket key", &e))?;
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// X25519 first, because it is the cheapest for both sides; the post-quantum hybrid for clients that insist
/// on it.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    }
}

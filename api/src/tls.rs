//! HTTPS with the server's own certificate.
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate chain and its key, PEM. `Debug` does not show the key.
#[derive(Clone)]
pub struct Tls {
    /// Leaf first, then the CA.
    pub certificate_chain: String,
    /// PKCS#8.
    pub private_key: zeroize::Zeroizing<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS 1.2 and 1.3, HTTP/1.1. Callers are known by their signatures, so no client certificate is asked for.
    ///
    /// Fails with `InvalidInput` when this is not a certificate chain with its key.
    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let chain = CertificateDer::pem_slice_iter(self.certificate_chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid("certificate chain", &error))?;
        if chain.is_empty() {
            return Err(invalid("certificate chain", &"it holds no CERTIFICATE block"));
        }
        let key = PrivateKeyDer::from_pem_slice(self.private_key.as_bytes())
            .map_err(|error| invalid("private key", &error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| invalid("TLS settings", &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| invalid("certificate and key", &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn invalid(what: &str, error: &dyn Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the API's own {what} cannot be used: {error}"))
}

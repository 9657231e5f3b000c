//! HTTP/1.1 to one server, over TCP or TLS; one connection per request.
use anyhow::{Context, bail};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A server and how to reach it.
pub struct Http {
    host: String,
    port: u16,
    encrypted: bool,
    tls: Option<TlsConnector>,
}

/// The server could not be reached at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(String);

impl Http {
    /// The server of `http://HOST[:PORT]` or `https://HOST[:PORT]`. `None`: that is no such URL.
    pub fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        (uri.path() == "/" && uri.query().is_none()).then_some(Self { host, port, encrypted, tls: None })
    }

    /// Is what is said on the way encrypted?
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Trusts these CA certificates (PEM) and no others.
    pub fn trusting(self, ca_certificates: &str) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_certificates.as_bytes()) {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            bail!("it holds no CERTIFICATE block");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))), ..self })
    }

    /// Sends a request; its URI is the path and the query. Fails with [`Unreachable`] when nobody answers there.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let unreachable = |error: &dyn std::fmt::Display| Unreachable(error.to_string());
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(CONNECT_DEADLINE, connecting).await;
        let stream = stream.map_err(|error| unreachable(&error))?.map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true)?;
        match (self.encrypted, &self.tls) {
            (false, _) => over(stream, request).await,
            (true, Some(tls)) => {
                let name = ServerName::try_from(self.host.clone())?;
                let handshake = tokio::time::timeout(CONNECT_DEADLINE, tls.connect(name, stream)).await;
                let stream = handshake.map_err(|error| unreachable(&error))?;
                over(stream.map_err(|error| unreachable(&error))?, request).await
            }
            (true, None) => bail!("no CA certificate is given to trust"),
        }
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the reply; what goes wrong is seen there.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// The next bytes of a reply; `None`: it has ended.
pub async fn chunk(reply: &mut Response<Incoming>) -> anyhow::Result<Option<Bytes>> {
    while let Some(frame) = reply.body_mut().frame().await {
        if let Ok(data) = frame.context("the reply broke off")?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The whole of a reply, at most so many bytes.
pub async fn whole(mut reply: Response<Incoming>, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(more) = chunk(&mut reply).await? {
        if bytes.len() + more.len() > most {
            bail!("the reply is larger than {most} bytes");
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_perhaps_a_port() {
        let of = |url: &str| Http::of(url).map(|http| (http.host, http.port, http.encrypted));
        assert_eq!(of("http://127.0.0.1:8080"), Some(("127.0.0.1".into(), 8080, false)));
        assert_eq!(of("https://broker.example/"), Some(("broker.example".into(), 443, true)));
        assert_eq!(of("http://[::1]:80"), Some(("::1".into(), 80, false)));
        for bad in ["", "broker:8080", "ftp://a", "http://", "http://a/b", "http://u:p@a", "http://a?b"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}

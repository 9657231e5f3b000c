//! The ceiling: what a server of this kind cannot be faster than. TLS with the client's chain verified, CONNACK, and
//! messages passed on unread. Its TLS settings are those of jitp.
mod relay;

use crate::factory::Files;
use anyhow::Context;
use relay::Relay;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer, kx_group};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Serves until standard input ends; prints `ready ADDRESS`.
pub async fn serve(directory: &Path) -> anyhow::Result<()> {
    let acceptor = acceptor(&Files { directory: directory.to_owned() })?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(std::io::stdout(), "ready {}", listener.local_addr()?)?;
    let orphaned = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let accepting = tokio::spawn(accept(listener, acceptor));
    orphaned.await??;
    accepting.abort();
    Ok(())
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor) {
    let relay = Relay::default();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, relay) = (acceptor.clone(), relay.clone());
        tokio::spawn(async move {
            // A client that leaves early is no matter of a ceiling.
            let _ = connection(socket, acceptor, relay).await;
        });
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, relay: Relay) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    relay.serve(acceptor.accept(socket).await?).await
}

fn acceptor(files: &Files) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(CryptoProvider {
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.ca()).context("the factory's CA")?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let chain = CertificateDer::pem_file_iter(files.server())?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(files.server_key())?)?;
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

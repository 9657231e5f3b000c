//! What a client meets that does not get as far as MQTT: each case ends with a clear record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_broker::Protocol;
use jitp_provisioner::ReasonCode;
use jitp_provisioner::certs::{Attribute, KeyKind, LeafRequest};
use jitp_provisioner::records::CertificateStatus;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn plain_mqtt_on_the_tls_port_is_told_apart_from_garbage() {
    let world = World::new().await;
    let mut tcp = world.tcp().await;
    tcp.write_all(&Connect::new(4, "a").packet()).await.unwrap();
    closed(&mut tcp).await;
    let attempt = world.attempt(ReasonCode::TlsHandshakeFailed).await;
    assert!(attempt.message.contains("MQTT without TLS"), "{}", attempt.message);
}

#[tokio::test]
async fn garbage_that_starts_like_tls_fails_the_handshake() {
    let world = World::new().await;
    let mut tcp = world.tcp().await;
    tcp.write_all(&[0x16, 0x03, 0x01, 0xff, 0xff, 1, 2, 3, 4, 5]).await.unwrap();
    let mut answer = Vec::new();
    let _ = patiently(tcp.read_to_end(&mut answer)).await;
    assert_eq!(answer.first(), Some(&0x15), "a TLS alert");
    world.attempt(ReasonCode::TlsHandshakeFailed).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let world = World::new().await;
    let mut wire = match world.try_wire(&Arc::new(world.tls(None))).await {
        Ok(wire) => wire, // TLS 1.3: the alert comes after the client's last flight
        Err(_) => {
            world.attempt(ReasonCode::NotAuthenticated).await;
            return;
        }
    };
    wire.closed().await;
    world.attempt(ReasonCode::NotAuthenticated).await;
}

#[tokio::test]
async fn a_silent_client_is_closed_at_the_deadline() {
    let deadline = Duration::from_millis(300);
    let world = World::with(EVERYTHING, |config| config.limits.handshake_deadline = deadline).await;
    closed(&mut world.tcp().await).await;
}

#[tokio::test]
async fn a_silent_client_blocks_nobody() {
    let world = World::with(EVERYTHING, |config| {
        config.limits.handshakes = 1;
        config.limits.handshake_deadline = 10 * PATIENCE;
    })
    .await;
    let _silent = world.tcp().await;
    let device = world.device("a");
    world.online(&device, 4, "a").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_accept() {
    let world = World::with(EVERYTHING, |config| config.limits.connections = 1).await;
    let device = world.device("a");
    let first = world.online(&device, 4, "a").await;
    let mut second = world.tcp().await;
    closed(&mut second).await;
    drop(first);
    // The place is free again as soon as the broker has seen the end.
    let let_in = async {
        loop {
            if let Ok(wire) = world.try_wire(&device.tls).await {
                return wire;
            }
        }
    };
    assert_eq!(patiently(let_in).await.connect(&Connect::new(4, "a")).await, 0);
}

#[tokio::test]
async fn devices_of_every_key_kind_connect_with_both_tls_versions() {
    let world = World::new().await;
    for (index, key) in
        [KeyKind::EcP256, KeyKind::EcP384, KeyKind::EcP521, KeyKind::Rsa2048].into_iter().enumerate()
    {
        let name = format!("device-{index}");
        let subject = vec![(Attribute::CommonName, name.clone())];
        let request = LeafRequest { subject, validity: validity(), key };
        let issued = world.ca.issue_device(&request).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let leaf = CertificateDer::from(issued.certificate.der().to_vec());
            let key = PrivateKeyDer::try_from(issued.private_key.to_der().to_vec()).unwrap();
            let mut roots = rustls::RootCertStore::empty();
            for certificate in pem(&world.server_ca_pem()) {
                roots.add(certificate).unwrap();
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(vec![leaf], key)
                .unwrap();
            let mut wire = world.try_wire(&Arc::new(config)).await.unwrap();
            assert_eq!(wire.connect(&Connect::new(4, &name)).await, 0, "{name} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_ca_shakes_hands_and_is_refused_at_connect() {
    let world = World::new().await;
    let stranger = authority("stranger");
    let subject = vec![(Attribute::CommonName, "a".into())];
    let request = LeafRequest { subject, validity: validity(), key: KeyKind::EcP256 };
    let device = world.device_of(stranger.issue_device(&request).unwrap());
    let mut wire = world.wire(&device).await;
    assert_eq!(wire.connect(&Connect::new(4, "a")).await, 5);
    wire.closed().await;
    world.attempt(ReasonCode::CertificateNotRegistered).await;
}

#[tokio::test]
async fn an_x509_version_1_certificate_proves_its_key_and_connects() {
    let world = World::new().await;
    let (leaf, key) = version_1_certificate(&world, "old-device");
    let tls = Arc::new(world.tls(Some((leaf, key))));
    let mut wire = world.try_wire(&tls).await.unwrap();
    assert_eq!(wire.connect(&Connect::new(4, "old-device")).await, 0);
}

#[tokio::test]
async fn a_resumed_session_is_checked_again() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.online(&device, 4, "a").await;
    wire.ping().await; // the ticket has been read now
    wire.send(&[0xe0, 0]).await;
    wire.closed().await;

    let mut wire = world.online(&device, 4, "a").await;
    let (_, session) = wire.stream.get_ref();
    assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    wire.ping().await;
    drop(wire);

    world.registry().update_certificate(device.id, CertificateStatus::Revoked).await.unwrap();
    let mut wire = world.wire(&device).await;
    let (_, session) = wire.stream.get_ref();
    assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    assert_eq!(wire.connect(&Connect::new(4, "a")).await, 5);
    world.attempt(ReasonCode::CertificateRevoked).await;
}

fn pem(text: &str) -> Vec<CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// Signed by the device CA, without version and extensions.
fn version_1_certificate(world: &World, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    let subject = vec![(Attribute::CommonName, name.to_owned())];
    let request = LeafRequest { subject, validity: validity(), key: KeyKind::EcP256 };
    let issued = world.ca.issue_device(&request).unwrap();
    let certificate = &issued.certificate;
    let ecdsa_with_sha256 = der(0x30, &[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let times = der(0x30, &[&der(0x17, &[b"250101000000Z"]), &der(0x17, &[b"400101000000Z"])]);
    let tbs = der(
        0x30,
        &[
            &[0x02, 1, 7],
            &ecdsa_with_sha256,
            certificate.issuer().der(),
            &times,
            certificate.subject().der(),
            certificate.public_key_info(),
        ],
    );
    let ca_key = world.ca.private_key().to_der();
    let ca_key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &ca_key).unwrap();
    let signature = ca_key.sign(&aws_lc_rs::rand::SystemRandom::new(), &tbs).unwrap();
    let bits = der(0x03, &[&[0], signature.as_ref()]);
    let leaf = der(0x30, &[&tbs, &ecdsa_with_sha256, &bits]);
    let key = PrivateKeyDer::try_from(issued.private_key.to_der().to_vec()).unwrap();
    (CertificateDer::from(leaf), key)
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let mut out = vec![tag];
    match contents.len() {
        n @ 0..=0x7f => out.push(n as u8),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(contents);
    out
}

#[tokio::test]
async fn a_broker_does_not_start_with_a_listener_that_nobody_serves() {
    let world = World::new().await;
    let https = world.refused(|config| {
        let mut listener = config.listeners[0].clone();
        (listener.protocol, listener.name) = (Protocol::Https, "the second".into());
        config.listeners.push(listener);
    });
    let https = https.await.to_string();
    assert!(https.contains("the second") && https.contains("Config.http"), "{https}");
    let none = world.refused(|config| config.listeners.clear()).await.to_string();
    assert!(none.contains("no listener speaks MQTT"), "{none}");
}

//! HTTPS, and callers of any region.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_api::Tls;
use jitp_certs::Validity;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::sync::Arc;
use support::{ACCOUNT, Client, POLICY, REGION, Server, authority, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn over_https_the_api_shows_its_certificate_and_plain_http_gets_no_answer() {
    let ca = authority("Server CA");
    let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
    let issued = ca.issue_server(&["localhost".to_string()], &[], validity).unwrap();
    let tls = Tls {
        certificate_chain: issued.certificate.to_pem(),
        private_key: issued.private_key.expose().to_string().into(),
    };
    assert!(!format!("{tls:?}").contains("PRIVATE"));
    let server = Server::start_in(REGION, |config| config.tls = Some(tls)).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.certificate().der().to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let socket = TcpStream::connect(server.client.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));

    let mut socket = TcpStream::connect(server.client.address).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_any_region_is_served_each_caller_reads_arns_of_its_own() {
    let server = Server::start_in("any", |_| {}).await;
    let in_region = |region: &str| Client { region: region.into(), ..server.client.clone() };
    let (frankfurt, virginia) = (in_region("eu-central-1"), in_region("us-east-1"));
    let arn = |region: &str, rest: &str| format!("arn:aws:iot:{region}:{ACCOUNT}:{rest}");

    let made = frankfurt.ok("POST", "/policies/p", json!({"policyDocument": POLICY})).await;
    assert_eq!(made["policyArn"], arn("eu-central-1", "policy/p"));
    let read = virginia.ok("GET", "/policies/p", json!(null)).await;
    assert_eq!(read["policyArn"], arn("us-east-1", "policy/p"));
    let twice = virginia.call("POST", "/policies/p", json!({"policyDocument": POLICY})).await;
    assert_eq!(twice.status, 409);
    assert_eq!(twice.body["resourceArn"], arn("us-east-1", "policy/p"));

    frankfurt.ok("POST", "/thing-groups/g", json!({})).await;
    let target = arn("ap-south-1", "thinggroup/g");
    virginia.ok("PUT", "/target-policies/p", json!({"target": target})).await;
    let attached =
        frankfurt.ok("POST", &format!("/attached-policies/{}", encode(&target)), json!(null)).await;
    assert_eq!(attached["policies"][0]["policyName"], "p");
    let targets = frankfurt.ok("POST", "/policy-targets/p", json!(null)).await;
    assert_eq!(targets["targets"][0], arn("eu-central-1", "thinggroup/g"));
}

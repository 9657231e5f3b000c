//! The audit log over the API: every call that changes something, or tries to, before its answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::AuditFilter;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{PATIENCE, POLICY, Server, authority};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

async fn records(server: &Server, query: &str) -> Vec<Value> {
    let page = server.client.ok("GET", &format!("/jitp/v1/audit{query}"), Value::Null).await;
    page["records"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_changes_something_is_in_the_log_when_it_is_answered() {
    let server = Server::start().await;
    let answer = server.client.call("POST", "/policies/p", json!({"policyDocument": POLICY})).await;
    let [record] = records(&server, "").await.try_into().unwrap();
    assert_eq!(record["accessKeyId"], support::KEY);
    assert_eq!(record["operation"], "CreatePolicy");
    assert_eq!(record["resources"], json!({"policyName": "p", "policyVersionId": "1"}));
    assert_eq!(record["sourceIp"], "127.0.0.1");
    assert_eq!(record["requestId"], answer.request_id.as_str());
    assert_eq!(record.get("error"), None);
    assert!(record["timestamp"].as_u64().unwrap() > 1_700_000_000_000);
    assert!(!record.to_string().contains("Statement"), "documents are not copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_are_in_the_log_and_reading_ones_are_not() {
    let server = Server::start().await;
    let viewer = server.client_of("viewer").await;
    viewer.call("DELETE", "/things/pump-1", Value::Null).await;
    server.client.call("POST", "/things/a", json!({"thingTypeName": "absent"})).await;
    server.client.call("POST", "/things/a%20b", Value::Null).await;
    server.client.ok("GET", "/things", Value::Null).await;
    server.client.call("POST", "/jitp/v1/simulate", json!({})).await;
    server.client.plain("/things").await;
    let shown = |record: &Value| -> String {
        let error = record["error"].as_str().unwrap_or("done");
        format!("{} {} {}", record["operation"].as_str().unwrap(), error, record["resources"]["thingName"])
    };
    let found: Vec<String> = records(&server, "").await.iter().rev().map(shown).collect();
    assert_eq!(
        found,
        [
            "CreateAccessKey done null",
            "DeleteThing UnauthorizedException \"pump-1\"",
            "CreateThing ResourceNotFoundException \"a\"",
            "CreateThing InvalidRequestException \"a b\"",
        ]
    );
    assert_eq!(records(&server, "?operation=DeleteThing").await.len(), 1);
    assert_eq!(records(&server, &format!("?accessKeyId={}", viewer.key)).await.len(), 1);
    assert!(records(&server, "?since=99999999999999").await.is_empty());
    assert_eq!(records(&server, "?limit=2").await.len(), 2);
    assert_eq!(records(&server, "?before=2").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_call_for_the_registration_code_makes_it_and_is_in_the_log_once() {
    let server = Server::start().await;
    let viewer = server.client_of("viewer").await;
    let code = viewer.ok("GET", "/registrationcode", Value::Null).await;
    assert_eq!(viewer.ok("GET", "/registrationcode", Value::Null).await, code);
    let found = records(&server, "?operation=GetRegistrationCode").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["accessKeyId"], viewer.key.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_names_what_the_call_made() {
    let server = Server::start().await;
    let issued = server.client.ok("POST", "/keys-and-certificate?setAsActive=true", Value::Null).await;
    let template = json!({
        "Parameters": {"Name": {"Type": "String"}},
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}}},
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateId": issued["certificateId"]},
            },
        },
    });
    let body = json!({"templateBody": template.to_string(), "parameters": {"Name": "pump-1"}});
    server.client.ok("POST", "/things", body).await;
    let [registered, created] = records(&server, "").await.try_into().unwrap();
    assert_eq!(created["resources"]["certificateId"], issued["certificateId"]);
    let made = json!({"certificateId": issued["certificateId"], "thingName": "pump-1"});
    assert_eq!(registered["resources"], made);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_private_key_is_in_the_log() {
    let server = Server::start().await;
    let operator = server.client_of("operator").await;
    let ca = authority("Factory CA");
    let key = ca.private_key().expose().to_string();
    support::register(&server.client, &ca).await;
    server.client.call("POST", "/cacertificate", json!({"caCertificate": key})).await;
    let text = Value::from(records(&server, "").await).to_string();
    assert!(text.contains("RegisterCACertificate") && text.contains(&operator.key), "{text}");
    for secret in [operator.secret.as_str(), support::SECRET, "PRIVATE KEY", "BEGIN CERTIFICATE"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_is_in_the_log_all_the_same() {
    let server = Server::start().await;
    let request = server.client.signed("POST", "/things/pump-1", &[], b"{}".to_vec());
    let mut text =
        format!("POST /things/pump-1 HTTP/1.1\r\nhost: {}\r\ncontent-length: 2\r\n", server.client.address);
    for (name, value) in request.headers().iter().filter(|(name, _)| *name != "host") {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    text.push_str("\r\n{}");
    let mut socket = TcpStream::connect(server.client.address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    let started = Instant::now();
    while server.client.call("GET", "/things/pump-1", Value::Null).await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "the thing is not created");
        tokio::task::yield_now().await;
    }
    drop(socket);
    let log = server.provisioner.audit().records().clone();
    let recorded = tokio::time::timeout(PATIENCE, log.beyond(0)).await;
    assert!(recorded.is_ok(), "what was done is not in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_shows_calls_as_they_happen_and_ends_when_the_api_stops() {
    let server = Server::start().await;
    let target = "/jitp/v1/audit/tail?operation=CreateThing";
    let mut tail = server.client.stream(server.client.signed("GET", target, &[], Vec::new())).await;
    assert_eq!(tail.chunk().await.unwrap().unwrap(), "\n");
    server.client.ok("POST", "/policies/p", json!({"policyDocument": POLICY})).await;
    server.client.ok("POST", "/things/pump-1", json!({})).await;
    let line: Value = serde_json::from_slice(&tail.chunk().await.unwrap().unwrap()).unwrap();
    assert_eq!((line["operation"].as_str(), line["sequence"].as_u64()), (Some("CreateThing"), Some(2)));
    let all = server.provisioner.audit().records().list(&AuditFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    let stopping = tokio::spawn(server.api.shutdown(Duration::from_secs(30)));
    assert_eq!(tail.chunk().await.unwrap(), None);
    stopping.await.unwrap();
}

//! What AWS does not have: health, metrics, attempts, simulation, status.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::{Attempt, AttemptKind, Outcome, Presentation, ReasonCode, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use support::{Server, authority, device, encode, jitp_template, register};

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_need_no_signature_and_every_reply_has_its_own_request_id() {
    let server = Server::start().await;
    let healthz = server.client.plain("/healthz").await;
    let readyz = server.client.plain("/readyz").await;
    let metrics = server.client.plain("/metrics").await;
    assert_eq!((healthz.status, &healthz.body), (200, &json!({"status": "ok"})));
    assert_eq!((readyz.status, &readyz.body), (200, &json!({"status": "ready"})));
    assert_eq!((metrics.status, &metrics.body), (200, &json!("jitp_up 1\n")));
    assert_ne!(healthz.request_id, readyz.request_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_runs_here() {
    let server = Server::start().await;
    let status = server.client.ok("GET", "/jitp/v1/status", Value::Null).await;
    assert_eq!(status["account"], support::ACCOUNT);
    assert_eq!(status["region"], support::REGION);
    assert_eq!(status["endpoint"], "broker.example:18883");
    assert_eq!(status["health"], json!({"status": "ready"}));
    assert!(status["version"].is_string() && status["revision"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_shows_the_plan_and_changes_nothing() {
    let server = Server::start().await;
    let ca = authority("Factory CA");
    register(&server.client, &ca).await;
    let pem = device(&ca, "pump-1").certificate.to_pem();
    let request = json!({"templateBody": jitp_template(), "certificatePem": pem});
    let simulation = server.client.ok("POST", "/jitp/v1/simulate", request).await;
    assert_eq!(simulation["plan"]["thing"]["name"], "pump-1");
    assert_eq!(simulation["failure"], Value::Null);
    assert_eq!(server.client.call("GET", "/things/pump-1", Value::Null).await.status, 404);
    let broken = json!({"templateBody": "{}", "certificatePem": pem});
    assert_eq!(server.client.call("POST", "/jitp/v1/simulate", broken).await.status, 400);
    let unknown = json!({"templateName": "absent", "certificatePem": pem});
    assert_eq!(server.client.call("POST", "/jitp/v1/simulate", unknown).await.status, 404);
}

fn refusal(client_id: &str) -> Attempt {
    Attempt {
        sequence: 0,
        timestamp: Timestamp(0),
        kind: AttemptKind::Connection,
        outcome: Outcome::Refused,
        reason: ReasonCode::NotAuthorized,
        message: "no policy allows this connection".into(),
        certificate_id: None,
        ca_certificate_id: None,
        claim_certificate_id: None,
        subject: None,
        client_id: Some(client_id.into()),
        source_ip: "127.0.0.1".into(),
        source_port: 50_000,
        server_name: None,
        template_name: None,
        template_version: None,
        parameters: Default::default(),
        thing_name: None,
        failing_resource: None,
        json_path: None,
        duration_micros: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_listed_newest_first_by_filter_and_in_pages() {
    let server = Server::start().await;
    let ca = authority("Unregistered CA");
    for n in 0..5 {
        let device = device(&ca, &format!("pump-{n}")).certificate;
        let presentation = Presentation {
            chain: &[device.der()],
            leaf: None,
            client_id: &format!("pump-{n}"),
            source: ([127, 0, 0, 1], 50_000).into(),
            server_name: None,
            trace: "",
        };
        server.provisioner.admit(&presentation).await;
    }
    let list = |query: &str| {
        let (client, target) = (server.client.clone(), format!("/jitp/v1/attempts{query}"));
        async move { client.ok("GET", &target, Value::Null).await }
    };
    let clients = |page: &Value| -> Vec<String> {
        let attempts = page["attempts"].as_array().unwrap();
        attempts.iter().map(|attempt| attempt["clientId"].as_str().unwrap().to_string()).collect()
    };
    // A refusal is recorded beside the connection, not before its answer.
    let mut seen = server.provisioner.changes().latest();
    while clients(&list("").await).len() < 5 {
        server.provisioner.changes().beyond(seen).await;
        seen = server.provisioner.changes().latest();
    }
    let first = list("?limit=2").await;
    assert_eq!(clients(&first), ["pump-4", "pump-3"]);
    let second = list(&format!("?limit=2&before={}", first["nextBefore"])).await;
    assert_eq!(clients(&second), ["pump-2", "pump-1"]);
    let last = list(&format!("?limit=2&before={}", second["nextBefore"])).await;
    assert_eq!(clients(&last), ["pump-0"]);
    assert_eq!(last.get("nextBefore"), None);
    assert_eq!(clients(&list("?clientId=pump-3&outcome=refused").await), ["pump-3"]);
    assert!(clients(&list("?outcome=provisioned").await).is_empty());
    assert_eq!(clients(&list("?reason=DEVICE_CERTIFICATE_NOT_REGISTERED").await).len(), 5);
    let at = &first["attempts"][0]["timestamp"];
    assert!(!clients(&list(&format!("?since={at}")).await).is_empty());
    assert!(clients(&list("?since=99999999999999").await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_reason_code_is_refused_with_the_nearest_one_or_all_that_there_are() {
    let server = Server::start().await;
    for path in ["/jitp/v1/attempts", "/jitp/v1/attempts/tail"] {
        let answer = server.client.call("GET", &format!("{path}?reason=no_such"), Value::Null).await;
        assert_eq!((answer.status, answer.exception.as_deref()), (400, Some("InvalidRequestException")));
        let message = answer.body["message"].as_str().unwrap();
        for part in ["reason: \"no_such\" is no reason code", "docs/reason-codes.md"] {
            assert!(message.contains(part), "{message}");
        }
        for code in ReasonCode::ALL {
            assert!(message.contains(code.as_str()), "{code}: {message}");
        }
        let answer = server.client.call("GET", &format!("{path}?reason=PROVISIOND"), Value::Null).await;
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains("did you mean PROVISIONED?"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_a_ca_is_changed_limit_by_limit() {
    let server = Server::start().await;
    let id = register(&server.client, &authority("Factory CA")).await;
    let path = format!("/jitp/v1/ca-certificates/{id}/budget");
    let none = json!({"caCertificateId": id, "usedRuns": 0, "runsPerSecondInForce": 0});
    assert_eq!(server.client.ok("GET", &path, Value::Null).await, none);
    assert_eq!(server.client.ok("PATCH", &path, json!({})).await, none);
    let total = server.client.ok("PATCH", &path, json!({"totalRuns": 5})).await;
    assert_eq!((&total["totalRuns"], total.get("runsPerSecond")), (&json!(5), None));
    let both = server.client.ok("PATCH", &path, json!({"runsPerSecond": 2})).await;
    assert_eq!((&both["totalRuns"], &both["runsPerSecond"]), (&json!(5), &json!(2)));
    assert_eq!(both["runsPerSecondInForce"], 2);
    let rate = server.client.ok("PATCH", &path, json!({"totalRuns": null})).await;
    assert_eq!((rate.get("totalRuns"), &rate["runsPerSecond"]), (None, &json!(2)));
    assert_eq!(server.client.ok("PATCH", &path, json!({"runsPerSecond": null})).await, none);
    for bad in [json!({"totalRuns": -1}), json!({"totalRuns": "5"}), json!({"runsPerSecond": 1.5})] {
        assert_eq!(server.client.call("PATCH", &path, bad).await.status, 400);
    }
    let unknown = format!("/jitp/v1/ca-certificates/{}/budget", "0".repeat(64));
    for method in ["GET", "PATCH"] {
        assert_eq!(server.client.call(method, &unknown, Value::Null).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_shows_attempts_as_they_happen_and_ends_when_the_api_stops() {
    let server = Server::start().await;
    server.provisioner.record_refusal(refusal("before"));
    let target = format!("/jitp/v1/attempts/tail?clientId={}", encode("pump 1"));
    let mut tail = server.client.stream(server.client.signed("GET", &target, &[], Vec::new())).await;
    assert_eq!(tail.status(), 200);
    assert_eq!(tail.chunk().await.unwrap().unwrap(), "\n");
    server.provisioner.record_refusal(refusal("pump 2"));
    server.provisioner.record_refusal(refusal("pump 1"));
    let line = tail.chunk().await.unwrap().unwrap();
    let attempt: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(attempt["clientId"], "pump 1");
    assert_eq!(attempt["reason"], "AUTHORIZATION_FAILURE");

    let whole = server.client.signed("GET", "/jitp/v1/attempts/tail?after=0", &[], Vec::new());
    let mut whole = server.client.stream(whole).await;
    let mut text = String::new();
    while text.matches("sequence").count() < 3 {
        text.push_str(std::str::from_utf8(&whole.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.contains("before"));

    let stopping = tokio::spawn(server.api.shutdown(Duration::from_secs(30)));
    assert_eq!(tail.chunk().await.unwrap(), None);
    assert_eq!(whole.chunk().await.unwrap(), None);
    stopping.await.unwrap();
}

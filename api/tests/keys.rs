//! Access keys over the API: what each role may do, and the life of a key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use serde_json::{Value, json};
use support::{Answer, Client, POLICY, Server};

/// What the answer to a denied call must look like.
fn assert_denied(answer: &Answer, role: &str, right: &str, operation: &str) {
    assert_eq!(
        (answer.status, answer.exception.as_deref()),
        (401, Some("UnauthorizedException")),
        "{answer:?}"
    );
    let message = answer.body["message"].as_str().unwrap();
    for part in [format!("role {role:?}"), format!("right {right:?}"), operation.to_string()] {
        assert!(message.contains(&part), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_reads_an_operator_changes_and_only_an_admin_says_who_may() {
    let server = Server::start().await;
    let (viewer, operator) = (server.client_of("viewer").await, server.client_of("operator").await);
    let admin = server.client_of("admin").await;
    let policy = json!({"policyDocument": POLICY});

    let denied = viewer.call("POST", "/policies/p", policy.clone()).await;
    assert_denied(&denied, "viewer", "operate", "CreatePolicy");
    operator.ok("POST", "/policies/p", policy).await;
    for client in [&viewer, &operator, &admin] {
        client.ok("GET", "/policies/p", Value::Null).await;
        client.ok("POST", "/policy-targets/p", Value::Null).await;
        client.ok("GET", "/jitp/v1/audit", Value::Null).await;
    }
    for (client, role) in [(&viewer, "viewer"), (&operator, "operator")] {
        let ca = client.call("POST", "/cacertificate", json!({"caCertificate": "x"})).await;
        assert_denied(&ca, role, "administer", "RegisterCACertificate");
        let list = client.call("GET", "/jitp/v1/keys", Value::Null).await;
        assert_denied(&list, role, "administer", "ListAccessKeys");
        let more = client.call("POST", "/jitp/v1/keys", json!({"role": "admin"})).await;
        assert_denied(&more, role, "administer", "CreateAccessKey");
    }
    let invalid = admin.call("POST", "/cacertificate", json!({"caCertificate": "x"})).await;
    assert_eq!(invalid.status, 400, "allowed, but no certificate");
    // Who may not call learns nothing of what is there.
    assert_eq!(viewer.call("DELETE", "/policies/absent", Value::Null).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_shown_once_listed_deactivated_activated_and_deleted() {
    let server = Server::start().await;
    let admin = &server.client;
    let made = admin.ok("POST", "/jitp/v1/keys", json!({"role": "viewer", "description": "wallboard"})).await;
    let (id, secret) = (made["accessKeyId"].as_str().unwrap(), made["secretAccessKey"].as_str().unwrap());
    assert_eq!((made["role"].as_str(), made["status"].as_str()), (Some("viewer"), Some("ACTIVE")));
    let client = Client { key: id.into(), secret: secret.into(), ..admin.clone() };
    client.ok("GET", "/things", Value::Null).await;

    let list = admin.ok("GET", "/jitp/v1/keys", Value::Null).await;
    assert!(!list.to_string().contains(secret) && !list.to_string().contains(support::SECRET), "{list}");
    assert_eq!(list["accessKeys"][0]["accessKeyId"], support::KEY);
    assert_eq!(list["accessKeys"][0]["builtIn"], true);
    assert_eq!(list["accessKeys"][1]["accessKeyId"], id);
    assert_eq!(list["accessKeys"][1]["description"], "wallboard");

    let path = format!("/jitp/v1/keys/{id}");
    admin.ok("PATCH", &path, json!({"status": "INACTIVE"})).await;
    let refused = client.call("GET", "/things", Value::Null).await;
    assert_eq!((refused.status, refused.exception.as_deref()), (403, Some("UnrecognizedClientException")));
    assert!(refused.body["message"].as_str().unwrap().contains("inactive"), "{refused:?}");
    // Only who has the secret learns that.
    let guess = Client { secret: "wrong".into(), ..client.clone() }.call("GET", "/things", Value::Null).await;
    assert!(!guess.body.to_string().contains("inactive"), "{guess:?}");

    admin.ok("PATCH", &path, json!({"status": "ACTIVE"})).await;
    client.ok("GET", "/things", Value::Null).await;
    admin.ok("DELETE", &path, Value::Null).await;
    let refused = client.call("GET", "/things", Value::Null).await;
    assert_eq!(refused.exception.as_deref(), Some("UnrecognizedClientException"));
    assert_eq!(admin.call("DELETE", &path, Value::Null).await.status, 404);
    assert_eq!(admin.call("PATCH", &path, json!({"status": "ACTIVE"})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_keys_and_the_key_of_the_data_directory_are_refused_with_what_to_do() {
    let server = Server::start().await;
    let admin = &server.client;
    let own = format!("/jitp/v1/keys/{}", support::KEY);
    for (method, target, body, expected) in [
        ("POST", "/jitp/v1/keys", json!({}), "role"),
        ("POST", "/jitp/v1/keys", json!({"role": "root"}), "role"),
        ("POST", "/jitp/v1/keys", json!({"role": "viewer", "description": "x".repeat(257)}), "256"),
        ("POST", "/jitp/v1/keys", json!({"role": "viewer", "description": "a\nb"}), "control"),
        ("PATCH", own.as_str(), json!({"status": "INACTIVE"}), "data directory"),
        ("DELETE", own.as_str(), Value::Null, "data directory"),
    ] {
        let answer = admin.call(method, target, body).await;
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
        assert!(answer.body["message"].as_str().unwrap().contains(expected), "{answer:?}");
    }
    admin.ok("GET", "/things", Value::Null).await;
}

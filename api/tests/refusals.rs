//! What is refused, and how: signatures, malformed requests, values out of bounds. Never a 5xx.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Answer, Client, POLICY, ROLE, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_and_badly_signed_requests_are_refused_with_403() {
    let server = Server::start().await;
    let client = &server.client;
    let expect = |answer: Answer, exception: &str| {
        assert_eq!((answer.status, answer.exception.as_deref()), (403, Some(exception)), "{answer:?}");
        assert!(answer.body["message"].is_string());
        assert!(!answer.body.to_string().contains(support::SECRET));
    };
    let call = |client: Client| async move { client.call("GET", "/things", Value::Null).await };
    expect(client.plain("/things").await, "MissingAuthenticationTokenException");
    expect(client.plain("/jitp/v1/status").await, "MissingAuthenticationTokenException");
    expect(call(Client { secret: "wrong".into(), ..client.clone() }).await, "UnrecognizedClientException");
    expect(call(Client { key: "AKIAOTHER".into(), ..client.clone() }).await, "UnrecognizedClientException");
    expect(
        call(Client { age: Duration::from_secs(1000), ..client.clone() }).await,
        "InvalidSignatureException",
    );
    expect(call(Client { region: "us-east-1".into(), ..client.clone() }).await, "InvalidSignatureException");

    let mut tampered = client.signed("POST", "/things/a", &[], b"{}".to_vec());
    *tampered.body_mut() = Some("{\"thingTypeName\":\"x\"}".into());
    expect(client.send(tampered).await, "UnrecognizedClientException");
    let mut undated = client.signed("GET", "/things", &[], Vec::new());
    undated.headers_mut().remove("x-amz-date");
    expect(client.send(undated).await, "IncompleteSignatureException");
    let mut unsigned_principal = client.signed("GET", "/principals/things", &[], Vec::new());
    unsigned_principal.headers_mut().insert("x-amzn-principal", "arn:aws:iot:a:b:cert/c".parse().unwrap());
    expect(client.send(unsigned_principal).await, "IncompleteSignatureException");
    assert_eq!(call(client.clone()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_route_is_404_whether_signed_or_not() {
    let server = Server::start().await;
    for answer in [
        server.client.plain("/nothing/here").await,
        server.client.call("GET", "/nothing/here", Value::Null).await,
        server.client.call("PUT", "/things", Value::Null).await,
        server.client.call("GET", "/things/", Value::Null).await,
    ] {
        assert_eq!((answer.status, answer.exception.as_deref()), (404, Some("UnknownOperationException")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_breaks_a_rule_is_an_invalid_request_that_names_its_member() {
    let server = Server::start().await;
    let long = "x".repeat(5000);
    let id = "0".repeat(64);
    let template = |member: &str, value: Value| {
        let mut body = json!({
            "templateName": "t", "templateBody": "{}", "provisioningRoleArn": ROLE, "type": "JITP",
        });
        body[member] = value;
        body
    };
    let cases: Vec<(&str, String, Value, &str)> = vec![
        ("POST", "/things/a%20b".into(), json!({}), "thingName"),
        ("POST", format!("/things/{}", "x".repeat(129)), json!({}), "thingName"),
        ("POST", "/things/%zz".into(), json!({}), "thingName"),
        ("POST", "/things/%ff".into(), json!({}), "thingName"),
        ("POST", "/things/a".into(), json!({"thingTypeName": 5}), "thingTypeName"),
        ("POST", "/things/a".into(), json!({"thingTypeName": {"x": 1}}), "thingTypeName"),
        ("POST", "/things/a".into(), json!({"attributePayload": [{}, false]}), "attributePayload"),
        (
            "POST",
            "/things/a".into(),
            json!({"attributePayload": {"attributes": {"a b": "c"}}}),
            "attributePayload",
        ),
        (
            "POST",
            "/things/a".into(),
            json!({"attributePayload": {"attributes": {"a": "b c"}}}),
            "attributePayload",
        ),
        (
            "POST",
            "/things/a".into(),
            json!({"attributePayload": {"attributes": {"a": 1}}}),
            "attributePayload",
        ),
        ("PATCH", "/things/a".into(), json!({"expectedVersion": -1}), "expectedVersion"),
        ("PATCH", "/things/a".into(), json!({"expectedVersion": "1"}), "expectedVersion"),
        ("PATCH", "/things/a".into(), json!({"removeThingType": "true"}), "removeThingType"),
        ("DELETE", "/things/a?expectedVersion=x".into(), Value::Null, "expectedVersion"),
        ("GET", "/things?maxResults=0".into(), Value::Null, "maxResults"),
        ("GET", "/things?maxResults=251".into(), Value::Null, "maxResults"),
        ("GET", "/things?maxResults=99999999999999999999".into(), Value::Null, "maxResults"),
        ("GET", "/things?nextToken=!!".into(), Value::Null, "nextToken"),
        ("GET", "/things?nextToken=QUJD".into(), Value::Null, "nextToken"),
        ("GET", format!("/things?nextToken={long}"), Value::Null, "nextToken"),
        ("GET", "/things?attributeName=a".into(), Value::Null, "attributeValue"),
        ("GET", "/things?attributeValue=a".into(), Value::Null, "attributeName"),
        ("GET", "/things?usePrefixAttributeValue=yes".into(), Value::Null, "usePrefixAttributeValue"),
        ("GET", "/things?maxResults=1&maxResults=2".into(), Value::Null, "maxResults"),
        ("GET", "/things?a=%zz".into(), Value::Null, "query string"),
        ("GET", "/policies?pageSize=0".into(), Value::Null, "pageSize"),
        ("GET", "/policies?isAscendingOrder=1".into(), Value::Null, "isAscendingOrder"),
        ("GET", "/policies?marker=%F0%9F%90%9F".into(), Value::Null, "marker"),
        ("POST", "/policies/a".into(), json!({}), "policyDocument"),
        ("POST", "/policies/a".into(), json!({"policyDocument": null}), "policyDocument"),
        ("POST", "/policies/a".into(), json!({"policyDocument": {}}), "policyDocument"),
        ("POST", "/policies/a".into(), json!({"policyDocument": "x".repeat(404_601)}), "policyDocument"),
        ("POST", "/policies/a%2Fb".into(), json!({"policyDocument": POLICY}), "policyName"),
        ("GET", "/policies/a/version/x".into(), Value::Null, "policyVersionId"),
        ("GET", "/policies/a/version/-1".into(), Value::Null, "policyVersionId"),
        ("GET", "/policies/a/version/99999999999".into(), Value::Null, "policyVersionId"),
        ("PUT", "/target-policies/a".into(), json!({}), "target"),
        ("PUT", "/target-policies/a".into(), json!({"target": "pump-1"}), "target"),
        ("PUT", "/target-policies/a".into(), json!({"target": long}), "target"),
        (
            "PUT",
            "/target-policies/a".into(),
            json!({"target": "arn:aws:iot:local-1:000000000000:thing/a"}),
            "target",
        ),
        (
            "PUT",
            "/target-policies/a".into(),
            json!({"target": "arn:aws:iot:local-1:000000000000:cert/xyz"}),
            "target",
        ),
        (
            "PUT",
            "/target-policies/a".into(),
            json!({"target": format!("arn:aws:iot:local-1:111111111111:cert/{id}")}),
            "target",
        ),
        (
            "PUT",
            "/target-policies/a".into(),
            json!({"target": format!("arn:aws:iot:us-east-1:000000000000:cert/{id}")}),
            "target",
        ),
        ("POST", "/attached-policies/x".into(), Value::Null, "target"),
        ("PUT", "/things/a/principals".into(), Value::Null, "x-amzn-principal"),
        ("GET", "/principals/things".into(), Value::Null, "x-amzn-principal"),
        ("GET", "/certificates/xyz".into(), Value::Null, "certificateId"),
        ("GET", format!("/certificates/{long}"), Value::Null, "certificateId"),
        ("PUT", format!("/certificates/{id}"), Value::Null, "newStatus"),
        ("PUT", format!("/certificates/{id}?newStatus=active"), Value::Null, "newStatus"),
        ("DELETE", format!("/certificates/{id}?forceDelete=1"), Value::Null, "forceDelete"),
        ("GET", "/certificates-by-ca/zz".into(), Value::Null, "caCertificateId"),
        ("PUT", format!("/cacertificate/{id}?newStatus=REVOKED"), json!({}), "newStatus"),
        (
            "PUT",
            format!("/cacertificate/{id}?newAutoRegistrationStatus=true"),
            json!({}),
            "newAutoRegistrationStatus",
        ),
        (
            "PUT",
            format!("/cacertificate/{id}"),
            json!({"registrationConfig": {"roleArn": "short"}}),
            "registrationConfig",
        ),
        ("POST", "/cacertificate".into(), json!({}), "caCertificate"),
        ("POST", "/cacertificate".into(), json!({"caCertificate": ""}), "caCertificate"),
        ("POST", "/cacertificate".into(), json!({"caCertificate": "x".repeat(65_537)}), "caCertificate"),
        ("POST", "/cacertificate?setAsActive=TRUE".into(), json!({"caCertificate": "x"}), "setAsActive"),
        (
            "POST",
            "/cacertificate".into(),
            json!({"caCertificate": "x", "certificateMode": "NONE"}),
            "certificateMode",
        ),
        ("POST", "/cacertificate".into(), json!({"caCertificate": "x", "tags": [{"Value": "a"}]}), "tags"),
        (
            "POST",
            "/cacertificate".into(),
            json!({"caCertificate": "x", "tags": [{"Key": "a", "Value": 1}]}),
            "tags",
        ),
        ("GET", "/cacertificates?templateName=a%20b".into(), Value::Null, "templateName"),
        (
            "POST",
            "/provisioning-templates".into(),
            template("templateName", json!("x".repeat(37))),
            "templateName",
        ),
        ("POST", "/provisioning-templates".into(), template("type", json!("OTHER")), "type"),
        ("POST", "/provisioning-templates".into(), template("description", json!("a\u{7}")), "description"),
        ("POST", "/provisioning-templates".into(), template("enabled", json!("yes")), "enabled"),
        ("POST", "/provisioning-templates".into(), template("templateBody", json!(["x"])), "templateBody"),
        (
            "POST",
            "/provisioning-templates".into(),
            template("provisioningRoleArn", json!("x")),
            "provisioningRoleArn",
        ),
        (
            "POST",
            "/provisioning-templates".into(),
            template("preProvisioningHook", json!({})),
            "preProvisioningHook",
        ),
        ("PATCH", "/provisioning-templates/t".into(), json!({"defaultVersionId": "1"}), "defaultVersionId"),
        ("GET", "/provisioning-templates/t/versions/x".into(), Value::Null, "versionId"),
        (
            "POST",
            "/thing-types/a".into(),
            json!({"thingTypeProperties": {"searchableAttributes": ["a", "b", "c", "d"]}}),
            "thingTypeProperties",
        ),
        ("POST", "/thing-groups/a".into(), json!({"thingGroupProperties": "x"}), "thingGroupProperties"),
        ("PUT", "/thing-groups/addThingToThingGroup".into(), json!({"thingName": "a"}), "thingGroupName"),
        (
            "PUT",
            "/thing-groups/addThingToThingGroup".into(),
            json!({"thingName": "a", "thingArn": "arn:aws:iot:local-1:000000000000:thing/b"}),
            "thingArn",
        ),
        (
            "PUT",
            "/thing-groups/addThingToThingGroup".into(),
            json!({"thingArn": "arn:aws:iot:local-1:000000000000:cert/b"}),
            "thingArn",
        ),
        ("GET", "/endpoint?endpointType=iot".into(), Value::Null, "endpointType"),
        (
            "PATCH",
            "/event-configurations".into(),
            json!({"eventConfigurations": {"THING": true}}),
            "eventConfigurations",
        ),
        (
            "PATCH",
            "/event-configurations".into(),
            json!({"eventConfigurations": {"THING": {"Enabled": "true"}}}),
            "eventConfigurations",
        ),
        ("GET", "/jitp/v1/attempts?limit=0".into(), Value::Null, "limit"),
        ("GET", "/jitp/v1/attempts?outcome=maybe".into(), Value::Null, "outcome"),
        ("GET", "/jitp/v1/attempts?reason=NOTHING".into(), Value::Null, "reason"),
        ("GET", "/jitp/v1/attempts?since=yesterday".into(), Value::Null, "since"),
        ("GET", "/jitp/v1/attempts/tail?after=-1".into(), Value::Null, "after"),
        ("POST", "/jitp/v1/simulate".into(), json!({"certificatePem": "x"}), "templateBody"),
    ];
    let mut told = Vec::new();
    for (method, target, body, member) in cases {
        let answer = server.client.call(method, &target, body).await;
        let shown: String = target.chars().take(60).collect();
        assert_eq!(
            (answer.status, answer.exception.as_deref()),
            (400, Some("InvalidRequestException")),
            "{method} {shown}: {answer:?}"
        );
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(member), "{method} {shown} should name {member}: {message}");
        let message: String = message.chars().take(160).collect();
        told.push(format!("{method} {shown}\n    {message}"));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_object_is_an_invalid_request() {
    let server = Server::start().await;
    let deep = "[".repeat(100_000);
    for body in ["[]", "1", "\"x\"", "{", "{\"a\":}", "nul", "\u{0}", deep.as_str(), "{} {}"] {
        let request = server.client.signed("POST", "/things/a", &[], body.as_bytes().to_vec());
        let answer = server.client.send(request).await;
        assert_eq!(
            (answer.status, answer.exception.as_deref()),
            (400, Some("InvalidRequestException")),
            "{body:.10}"
        );
    }
    let request = server.client.signed("POST", "/things/a", &[], vec![0xff, 0xfe]);
    assert_eq!(server.client.send(request).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_one_mebibyte_is_refused() {
    let server = Server::start().await;
    let body = json!({"policyDocument": "x".repeat(1024 * 1024)}).to_string().into_bytes();
    let answer = server.client.send(server.client.signed("POST", "/policies/a", &[], body)).await;
    assert_eq!((answer.status, answer.exception.as_deref()), (400, Some("InvalidRequestException")));
}

/// Whatever a known operation is sent in place of names, ids and members, it is the caller's fault.
#[tokio::test(flavor = "multi_thread")]
async fn no_garbage_makes_any_operation_fail_inside() {
    let server = Server::start().await;
    let labels = [
        "x",
        "0",
        "%00",
        "..",
        "%2E%2E",
        "a%2Fb",
        "%F0%9F%90%9F",
        "arn%3Aaws%3Aiot%3A%3A%3Acert%2F",
        "-1",
        "%27%22",
    ];
    let bodies = [
        json!({}),
        json!({"policyDocument": "{", "templateBody": "[", "caCertificate": "-----BEGIN CERTIFICATE-----", "target": "a",
               "certificatePem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
               "templateName": "t", "provisioningRoleArn": ROLE, "thingName": "t", "thingGroupName": "t"}),
        json!({"policyDocument": 1, "templateBody": {}, "thingTypeName": [], "tags": {}, "attributePayload": 1}),
    ];
    for route in jitp_api::operations().filter(|route| !route.operation.starts_with("Tail")) {
        for label in labels {
            let target: String = route
                .path
                .split('/')
                .skip(1)
                .map(|segment| format!("/{}", if segment.starts_with('{') { label } else { segment }))
                .collect();
            for body in &bodies {
                let body = if route.method == "GET" { Value::Null } else { body.clone() };
                let answer = server.client.call(route.method, &target, body).await;
                // No broker runs in this process.
                let of_broker = ["DeleteConnection", "Publish", "GetRetainedMessage", "ListRetainedMessages"]
                    .contains(&route.operation);
                let fine = answer.status < 500 || (of_broker && answer.status == 503);
                assert!(fine, "{} {target}: {answer:?}", route.operation);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_http_leave_the_api_serving() {
    let server = Server::start().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(200_000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /things HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /things/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\r\n\r\n\r\n",
        b"GET * HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /things/../%2e/./x HTTP/1.1\r\nhost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        long.as_bytes(),
    ] {
        let mut socket = tokio::net::TcpStream::connect(server.api.local_address()).await.unwrap();
        // The API may have answered and closed before it has read all of it.
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.client.plain("/healthz").await.status, 200);
}

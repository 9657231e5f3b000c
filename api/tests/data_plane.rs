//! AWS's data plane: what the API asks of the broker of its process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_api::{DeviceLimits, DeviceRequests, serve_device};
use jitp_provisioner::certs::Certificate;
use jitp_provisioner::{
    Answer, DataPlane, DeleteConnection, EnrollmentError, Publication, PublicationError, RetainedMessage,
    RetainedPage, Timestamp,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

/// Takes everything but what is on the topic that names its error.
#[derive(Default)]
struct Taking {
    deleted: Mutex<Vec<(String, DeleteConnection)>>,
    published: Mutex<Vec<Publication>>,
}

impl Taking {
    fn take(&self, publication: Publication) -> Result<(), PublicationError> {
        let text = || "why".to_string();
        match publication.topic.as_str() {
            "forbidden" => Err(PublicationError::Forbidden(text())),
            "limit" => Err(PublicationError::LimitExceeded(text())),
            "unavailable" => Err(PublicationError::Unavailable(text())),
            "invalid" => Err(PublicationError::Invalid(text())),
            "large" => Err(PublicationError::PayloadTooLarge { most: 1 }),
            _ => {
                self.published.lock().unwrap().push(publication);
                Ok(())
            }
        }
    }
}

impl DataPlane for Taking {
    fn delete_connection(&self, client_id: &str, how: DeleteConnection) -> bool {
        self.deleted.lock().unwrap().push((client_id.to_string(), how));
        client_id != "absent"
    }
    fn publish(&self, publication: Publication) -> Answer<'_, Result<(), PublicationError>> {
        Box::pin(async move { self.take(publication) })
    }
    fn retained(&self, topic: &str) -> Option<RetainedMessage> {
        TOPICS.contains(&topic).then(|| retained(topic))
    }
    fn list_retained(&self, after: Option<&str>, limit: usize) -> RetainedPage {
        let left: Vec<&str> =
            TOPICS.into_iter().filter(|topic| after.is_none_or(|after| *topic > after)).collect();
        let messages = left.iter().take(limit).map(|topic| retained(topic)).collect();
        RetainedPage { messages, more: left.len() > limit }
    }
}

impl DeviceRequests for Taking {
    fn publish<'a>(
        &'a self,
        publication: Publication,
        _: &'a str,
    ) -> Answer<'a, Result<(), PublicationError>> {
        Box::pin(async move { self.take(publication) })
    }
    fn enroll<'a>(
        &'a self,
        _: String,
        _: bool,
        _: &'a str,
    ) -> Answer<'a, Result<Certificate, EnrollmentError>> {
        Box::pin(async { Err(EnrollmentError::Forbidden("not here".into())) })
    }
    fn ca_certificates(&self) -> Vec<Certificate> {
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_data_plane_is_not_available() {
    let server = Server::start().await;
    for (method, target) in [("DELETE", "/connections/a"), ("POST", "/topics/a")] {
        let answer = server.client.call(method, target, Value::Null).await;
        assert_eq!((answer.status, answer.exception.as_deref()), (503, Some("ServiceUnavailableException")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_reaches_the_broker_and_its_answer_comes_back() {
    let server = Server::start().await;
    let taking = Arc::new(Taking::default());
    let broker: Arc<dyn DataPlane> = Arc::clone(&taking) as Arc<dyn DataPlane>;
    server.provisioner.data_plane().take(&broker);

    let target = "/connections/a%2Fb?cleanSession=TRUE&preventWillMessage=false";
    assert_eq!(server.client.call("DELETE", target, Value::Null).await.status, 200);
    assert_eq!(server.client.call("DELETE", "/connections/absent", Value::Null).await.status, 404);
    assert_eq!(server.client.call("DELETE", "/connections/%24a", Value::Null).await.status, 400);
    let deleted = taking.deleted.lock().unwrap().clone();
    let clean = DeleteConnection { clean_session: true, prevent_will: false };
    assert_eq!(deleted, [("a/b".to_string(), clean), ("absent".to_string(), DeleteConnection::default())]);

    let payload = json!({"any": "bytes"});
    assert_eq!(server.client.call("POST", "/topics/a%2Fb?qos=1", payload.clone()).await.status, 200);
    let published = taking.published.lock().unwrap().clone();
    assert_eq!((published[0].topic.as_str(), published[0].at_least_once), ("a/b", true));
    assert_eq!(published[0].payload, payload.to_string());
    for (topic, status, exception) in [
        ("forbidden", 401, "UnauthorizedException"),
        ("limit", 429, "ThrottlingException"),
        ("unavailable", 503, "ServiceUnavailableException"),
        ("invalid", 400, "InvalidRequestException"),
        ("large", 413, "RequestEntityTooLargeException"),
    ] {
        let answer = server.client.call("POST", &format!("/topics/{topic}"), Value::Null).await;
        assert_eq!((answer.status, answer.exception.as_deref()), (status, Some(exception)), "{topic}");
    }
}

/// On which something is retained.
const TOPICS: [&str; 3] = ["a", "a/b", "ü"];

fn retained(topic: &str) -> RetainedMessage {
    let user = match topic {
        "a/b" => vec![("line".to_string(), "7".to_string())],
        _ => Vec::new(),
    };
    RetainedMessage {
        topic: topic.into(),
        payload: b"\x00\xff"[..].into(),
        qos: 1,
        modified: Timestamp(1_767_225_600_123),
        user_properties: user,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_read_and_listed_page_by_page() {
    let server = Server::start().await;
    let broker: Arc<dyn DataPlane> = Arc::new(Taking::default());
    server.provisioner.data_plane().take(&broker);
    let viewer = server.client_of("viewer").await;

    let found = viewer.ok("GET", "/retainedMessage/a%2Fb", Value::Null).await;
    assert_eq!(
        found,
        json!({"topic": "a/b", "payload": "AP8=", "qos": 1, "lastModifiedTime": 1_767_225_600_123_u64,
               "userProperties": "W3sibGluZSI6IjcifV0="})
    );
    assert_eq!(viewer.call("GET", "/retainedMessage/absent", Value::Null).await.status, 404);

    let first = viewer.ok("GET", "/retainedMessage?maxResults=2", Value::Null).await;
    assert_eq!(
        first["retainedTopics"][1],
        json!({"topic": "a/b", "payloadSize": 2, "qos": 1,
        "lastModifiedTime": 1_767_225_600_123_u64})
    );
    let token = support::encode(first["nextToken"].as_str().unwrap());
    let rest =
        viewer.ok("GET", &format!("/retainedMessage?maxResults=200&nextToken={token}"), Value::Null).await;
    assert_eq!(rest["retainedTopics"][0]["topic"], "ü");
    assert_eq!(rest.get("nextToken"), None);
    for bad in ["maxResults=201", "maxResults=0", "nextToken=x"] {
        let answer = viewer.call("GET", &format!("/retainedMessage?{bad}"), Value::Null).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_answered_with_a_trace_and_never_told_why_it_is_forbidden() {
    for (target, status, message) in [
        ("/topics/a/b?qos=1", 200, "OK"),
        ("/topics/forbidden", 403, "Forbidden"),
        ("/topics/limit", 429, "why"),
        ("/topics/unavailable", 503, "Service Unavailable: try again"),
        ("/topics/", 404, "Not Found"),
        ("/things/a", 404, "Not Found"),
    ] {
        let (head, body) = device_posts(target, b"x", 16).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {head}");
        assert_eq!(body["message"], message, "{target}");
        assert_eq!(body["traceId"].as_str().map(str::len), Some(36), "{target}");
    }
    let (head, _) = device_posts("/topics/a", &[b'x'; 17], 16).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_device_does_not_hold_up_the_end() {
    let (mut near, far) = tokio::io::duplex(4096);
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(serve_device(far, Arc::new(Taking::default()), limits(16), stopping));
    near.write_all(b"POST /topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
    assert!(near.read(&mut [0; 1024]).await.unwrap() > 0);
    stop.send_replace(true);
    serving.await.unwrap();
}

fn limits(payload_bytes: usize) -> DeviceLimits {
    let deadline = Duration::from_secs(60);
    DeviceLimits { payload_bytes, header_bytes: 16_384, header_deadline: deadline, body_deadline: deadline }
}

async fn device_posts(target: &str, payload: &[u8], most: usize) -> (String, Value) {
    let (mut near, far) = tokio::io::duplex(4096);
    let (_stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(serve_device(far, Arc::new(Taking::default()), limits(most), stopping));
    let length = payload.len();
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // At once: who is refused by its head alone may be answered before more comes.
    near.write_all(&[head.as_bytes(), payload].concat()).await.unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    serving.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_string(), serde_json::from_str(body).unwrap())
}

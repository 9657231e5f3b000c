//! Bounds of requests and connections, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{PATIENCE, REGION, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What comes back until the server closes the connection.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may close while this is still being sent.
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    let reading = socket.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_bound_is_an_invalid_request_and_one_at_the_bound_is_read() {
    let server = Server::start_in(REGION, |config| config.limits.body_bytes = 2000).await;
    let answer = server.client.call("POST", "/things/a", json!({"x": "y".repeat(2000)})).await;
    assert_eq!((answer.status, answer.exception.as_deref()), (400, Some("InvalidRequestException")));
    assert!(answer.body["message"].as_str().unwrap().contains("2000 bytes"), "{answer:?}");
    let fits = "y".repeat(2000 - json!({"x": ""}).to_string().len());
    server.client.ok("POST", "/things/a", json!({"x": fits})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_over_the_bound_are_answered_431() {
    let server = Server::start_in(REGION, |config| config.limits.header_bytes = 10_000).await;
    let request = |size: usize| {
        format!("GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(size))
    };
    let answer = raw(server.client.address, request(20_000).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = raw(server.client.address, request(5000).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_headers_too_slowly_is_cut_off() {
    let deadline = Duration::from_millis(200);
    let server = Server::start_in(REGION, |config| config.limits.header_deadline = deadline).await;
    let started = Instant::now();
    let answer = raw(server.client.address, b"GET /healthz HTTP/1.1\r\nhost: a\r\n").await;
    assert!(!answer.contains("200 OK"), "{answer}");
    assert!(started.elapsed() >= deadline);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_a_body_too_slowly_is_answered_408() {
    let deadline = Duration::from_millis(200);
    let server = Server::start_in(REGION, |config| config.limits.body_deadline = deadline).await;
    let request = b"POST /things/a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{\"a\"";
    let answer = raw(server.client.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.to_lowercase().contains("x-amzn-errortype: requesttimeoutexception"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_so_many_calls_under_way_and_others_are_not_kept_waiting_by_it() {
    let server = Server::start_in(REGION, |config| config.limits.in_flight_per_key = 2).await;
    let busy = server.client_of("viewer").await;
    let mut tails = Vec::new();
    for _ in 0..2 {
        let request = busy.signed("GET", "/jitp/v1/attempts/tail", &[], Vec::new());
        let mut tail = busy.stream(request).await;
        assert_eq!(tail.chunk().await.unwrap().unwrap(), "\n");
        tails.push(tail);
    }
    let answer = busy.call("GET", "/things", Value::Null).await;
    assert_eq!((answer.status, answer.exception.as_deref()), (400, Some("ThrottlingException")));
    assert!(answer.body["message"].as_str().unwrap().contains("2 calls"), "{answer:?}");
    server.client.ok("GET", "/things", Value::Null).await;
    tails.pop();
    // The server notices the end of the tail with its next heartbeat or record at the latest.
    let started = Instant::now();
    while busy.call("GET", "/things", Value::Null).await.status == 400 {
        assert!(started.elapsed() < PATIENCE, "the place is not given back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_bound_wait_for_one_that_ends() {
    let server = Server::start_in(REGION, |config| config.limits.connections = 1).await;
    let first = TcpStream::connect(server.client.address).await.unwrap();
    let mut second = TcpStream::connect(server.client.address).await.unwrap();
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let waiting = tokio::time::timeout(Duration::from_millis(300), second.read_to_end(&mut answer)).await;
    assert!(waiting.is_err() && answer.is_empty());
    drop(first);
    tokio::time::timeout(PATIENCE, second.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

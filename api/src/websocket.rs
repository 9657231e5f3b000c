//! Opening a WebSocket for MQTT (RFC 6455 section 4.2, MQTT 5 section 6): the part that is HTTP.
use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tungstenite::handshake::derive_accept_key;

use crate::device_http::reply;

/// Where it is opened, as on AWS.
pub(crate) const PATH: &str = "/mqtt";
const SUBPROTOCOL: &str = "mqtt";
const VERSION: &str = "13";

/// 101, or why not. What comes on the stream after 101 is no HTTP any more.
pub(crate) fn open(request: &Request<Body>, trace: &str) -> Response<Body> {
    match accept(request) {
        Ok(accepted) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            say_upgrade(headers);
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            response
        }
        Err((status, message)) => refuse(status, message, trace),
    }
}

fn refuse(status: StatusCode, message: &str, trace: &str) -> Response<Body> {
    tracing::debug!(traceId = trace, status = status.as_u16(), message, "a WebSocket was refused");
    let mut response = reply(status, message, trace);
    let headers = response.headers_mut();
    match status {
        StatusCode::UPGRADE_REQUIRED => {
            say_upgrade(headers);
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        _ => {}
    }
    response
}

fn say_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// What proves to the client that a WebSocket is meant: Sec-WebSocket-Accept.
fn accept(request: &Request<Body>) -> Result<HeaderValue, (StatusCode, &'static str)> {
    let headers = request.headers();
    let bad = |message| Err((StatusCode::BAD_REQUEST, message));
    if request.method() != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is opened with GET"));
    }
    let asks = lists(headers, header::CONNECTION, |token| token.eq_ignore_ascii_case("upgrade"))
        && lists(headers, header::UPGRADE, |token| token.eq_ignore_ascii_case("websocket"));
    if request.version() != Version::HTTP_11 || !asks {
        return Err((StatusCode::UPGRADE_REQUIRED, "MQTT over WebSocket is served here: connect with wss"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err((StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if !BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return bad("Sec-WebSocket-Key must be 16 bytes in base64");
    }
    if !lists(headers, header::SEC_WEBSOCKET_PROTOCOL, |token| token == SUBPROTOCOL) {
        return bad("the subprotocol \"mqtt\" must be offered (Sec-WebSocket-Protocol: mqtt)");
    }
    HeaderValue::try_from(derive_accept_key(key)).or(bad("Sec-WebSocket-Key cannot be answered"))
}

/// Is such a token among those of a header, on one line or on several?
fn lists(headers: &HeaderMap, name: HeaderName, is_it: impl Fn(&str) -> bool) -> bool {
    let lines = headers.get_all(name);
    lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455 section 1.3, for MQTT.
    fn request(changed: &[(HeaderName, Option<&'static str>)]) -> Request<Body> {
        let mut request = Request::get("/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256").body(Body::empty()).unwrap();
        let usual = [
            (header::CONNECTION, Some("keep-alive, Upgrade")),
            (header::UPGRADE, Some("WebSocket")),
            (header::SEC_WEBSOCKET_VERSION, Some("13")),
            (header::SEC_WEBSOCKET_KEY, Some("dGhlIHNhbXBsZSBub25jZQ==")),
            (header::SEC_WEBSOCKET_PROTOCOL, Some("mqttv3.1, mqtt")),
        ];
        for (name, value) in usual.into_iter().chain(changed.iter().cloned()) {
            match value {
                Some(value) => request.headers_mut().insert(name, HeaderValue::from_static(value)),
                None => request.headers_mut().remove(name),
            };
        }
        request
    }

    #[test]
    fn a_websocket_for_mqtt_is_accepted_as_the_rfc_says() {
        let response = open(&request(&[]), "trace");
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], "mqtt");
        assert_eq!(response.headers()[header::UPGRADE], "websocket");
    }

    #[test]
    fn every_other_request_is_refused_with_what_it_lacks() {
        for (name, value, status) in [
            (header::SEC_WEBSOCKET_PROTOCOL, None, 400),
            (header::SEC_WEBSOCKET_PROTOCOL, Some("mqttv3.1, wamp"), 400),
            (header::SEC_WEBSOCKET_KEY, None, 400),
            (header::SEC_WEBSOCKET_KEY, Some("c2hvcnQ="), 400),
            (header::SEC_WEBSOCKET_VERSION, Some("8"), 426),
            (header::UPGRADE, None, 426),
            (header::UPGRADE, Some("h2c"), 426),
            (header::CONNECTION, Some("keep-alive"), 426),
        ] {
            assert_eq!(open(&request(&[(name.clone(), value)]), "").status(), status, "{name}: {value:?}");
        }
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert_eq!(open(&post, "").status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn a_browser_that_asks_for_the_page_is_told_what_is_here() {
        let response = open(&request(&[(header::UPGRADE, None)]), "");
        assert_eq!(response.headers()[header::UPGRADE], "websocket");
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_VERSION], "13");
    }
}

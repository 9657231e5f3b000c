//! Enrolment over Secure Transport (RFC 7030, RFC 8951): `/.well-known/est/…` on the stream of a device whose certificate
//! someone else has checked. A device that has a certificate asks for the next one; the rules are those of a renewal over MQTT.
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use jitp_provisioner::EnrollmentError;
use jitp_provisioner::certs::{Certificate, certs_only};
use std::time::Duration;

use crate::device_http::DeviceRequests;
use crate::error::ApiError;
use crate::service::read_body;

/// What all paths begin with.
pub(crate) const PREFIX: &str = "/.well-known/est/";
/// The largest request body, in bytes: a certificate signing request of 4,096 characters with generous line breaks.
const LARGEST_REQUEST: usize = 8 * 1024;
const CERTIFICATES: HeaderValue = HeaderValue::from_static("application/pkcs7-mime; smime-type=certs-only");
/// Base64 lines (RFC 2045 section 6.8).
const COLUMNS: usize = 76;

/// Why a request is refused.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    /// For a person.
    message: String,
    /// The method that would be right.
    allowed: Option<Method>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allowed: None }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    CaCertificates,
    Enroll,
    ReEnroll,
}

impl Operation {
    /// By what follows [`PREFIX`]: its name, after the label of a CA or not. There is one CA here, whatever its label
    /// (RFC 7030 section 3.2.2).
    fn of(path: &str) -> Option<Self> {
        let named = |name: &str| match name {
            "cacerts" => Some(Self::CaCertificates),
            "simpleenroll" => Some(Self::Enroll),
            "simplereenroll" => Some(Self::ReEnroll),
            _ => None,
        };
        match path.split_once('/') {
            Some((label, name)) if !label.is_empty() && named(label).is_none() => named(name),
            Some(_) => None,
            None => named(path),
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::CaCertificates => Method::GET,
            Self::Enroll | Self::ReEnroll => Method::POST,
        }
    }
}

/// Answers a request whose path begins with [`PREFIX`].
pub(crate) async fn answer(
    device: &dyn DeviceRequests,
    request: Request<Body>,
    body_deadline: Duration,
    trace: &str,
) -> Response<Body> {
    let certificates = match operate(device, request, body_deadline, trace).await {
        Ok(certificates) => certificates,
        Err(refusal) => return refused(refusal),
    };
    let mut response = Response::new(Body::from(in_lines(&certs_only(&certificates))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CERTIFICATES);
    headers.insert("content-transfer-encoding", HeaderValue::from_static("base64"));
    response
}

async fn operate(
    device: &dyn DeviceRequests,
    request: Request<Body>,
    body_deadline: Duration,
    trace: &str,
) -> Result<Vec<Certificate>, Refusal> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let Some(operation) = Operation::of(path) else {
        let message = "served here: cacerts, simpleenroll, simplereenroll";
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    };
    let method = operation.method();
    if parts.method != method {
        let message = format!("{path} is asked for with {method}");
        return Err(Refusal {
            allowed: Some(method),
            ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
        });
    }
    let same_subject = match operation {
        Operation::CaCertificates => return Ok(device.ca_certificates()),
        Operation::Enroll => false,
        Operation::ReEnroll => true,
    };
    let too_large = || ApiError::payload_too_large(LARGEST_REQUEST);
    let body = read_body(body, LARGEST_REQUEST, body_deadline, too_large).await;
    let body = body.map_err(|error| Refusal::new(error.status(), error.message()))?;
    let csr = signing_request(&body)?;
    let enrolled = device.enroll(csr, same_subject, trace).await;
    enrolled.map(|certificate| vec![certificate]).map_err(|error| match error {
        EnrollmentError::Invalid(message) => Refusal::new(StatusCode::BAD_REQUEST, message),
        // Why is for the broker's log, which has it under the trace id.
        EnrollmentError::Forbidden(_) => {
            Refusal::new(StatusCode::FORBIDDEN, format!("refused; trace id {trace}"))
        }
        EnrollmentError::Unavailable(_) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("try again later; trace id {trace}"))
        }
    })
}

/// The body as PEM: base64 of the DER, with or without line breaks, or PEM itself.
fn signing_request(body: &[u8]) -> Result<String, Refusal> {
    let wrong = || Refusal::new(StatusCode::BAD_REQUEST, "expected a PKCS#10 request in base64");
    let text = std::str::from_utf8(body).map_err(|_| wrong())?;
    if text.contains("-----BEGIN") {
        return Ok(text.to_owned());
    }
    let compact: String = text.split_ascii_whitespace().collect();
    let der = STANDARD.decode(compact).map_err(|_| wrong())?;
    Ok(format!("-----BEGIN CERTIFICATE REQUEST-----\n{}-----END CERTIFICATE REQUEST-----\n", in_lines(&der)))
}

fn in_lines(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = String::with_capacity(text.len() + text.len() / COLUMNS + 1);
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % COLUMNS == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines.push('\n');
    lines
}

fn refused(refusal: Refusal) -> Response<Body> {
    let Refusal { status, message, allowed } = refusal;
    let mut response = Response::new(Body::from(message + "\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if let Some(allowed) = allowed.and_then(|method| HeaderValue::from_str(method.as_str()).ok()) {
        headers.insert(header::ALLOW, allowed);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_base64_however_it_is_broken_or_pem() {
        let der = vec![7; 200];
        let pem = signing_request(in_lines(&der).as_bytes()).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----\nBwcH"), "{pem}");
        assert_eq!(signing_request(STANDARD.encode(&der).as_bytes()).unwrap(), pem);
        assert_eq!(signing_request(in_lines(&der).replace('\n', "\r\n").as_bytes()).unwrap(), pem);
        assert_eq!(signing_request(pem.as_bytes()).unwrap(), pem);
        for wrong in [&b"!"[..], b"\xff", b"abc"] {
            assert_eq!(signing_request(wrong).unwrap_err().status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn an_operation_may_follow_the_label_of_a_ca() {
        for (path, operation) in [
            ("cacerts", Some(Operation::CaCertificates)),
            ("plant-a/cacerts", Some(Operation::CaCertificates)),
            ("plant-a/simpleenroll", Some(Operation::Enroll)),
            ("csrattrs/simplereenroll", Some(Operation::ReEnroll)),
            ("cacerts/simpleenroll", None),
            ("a/b/cacerts", None),
            ("/cacerts", None),
            ("cacerts/", None),
            ("plant-a/csrattrs", None),
            ("", None),
        ] {
            assert_eq!(Operation::of(path), operation, "{path}");
        }
    }

    #[test]
    fn lines_have_at_most_76_columns() {
        let lines = in_lines(&[1; 114]);
        assert_eq!(lines.lines().map(str::len).collect::<Vec<_>>(), [76, 76]);
    }
}

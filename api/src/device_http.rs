//! HTTP of devices: `POST /topics/{topic}` on a stream whose certificate someone else has checked
//! (`spec/mqtt-behaviour.md` section 7), EST, and the opening of WebSockets. What a device may do is decided behind [`DeviceRequests`].
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jitp_provisioner::certs::Certificate;
use jitp_provisioner::{Answer, EnrollmentError, Publication, PublicationError};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::call::{decode_query, percent_decode};
use crate::error::ApiError;
use crate::est;
use crate::publication;
use crate::server::stopped;
use crate::service::read_body;
use crate::websocket;

/// A device that is connected, and what it may ask for.
pub trait DeviceRequests: Send + Sync + 'static {
    /// Publishes as this device, if it may. `trace` is told the device, and finds the call in the log.
    fn publish<'a>(
        &'a self,
        publication: Publication,
        trace: &'a str,
    ) -> Answer<'a, Result<(), PublicationError>>;

    /// Gives this device its next certificate, if it may have one, for the key of a certificate signing request (PEM).
    fn enroll<'a>(
        &'a self,
        csr: String,
        same_subject: bool,
        trace: &'a str,
    ) -> Answer<'a, Result<Certificate, EnrollmentError>>;

    /// The CA that such certificates are of.
    fn ca_certificates(&self) -> Vec<Certificate>;
}

/// How much a device may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceLimits {
    /// The largest payload, in bytes; a larger one is answered 413.
    pub payload_bytes: usize,
    /// The largest request line and headers, in bytes; larger ones are answered 431.
    pub header_bytes: usize,
    /// For the headers of a request to arrive, and for a connection to stay open without a request.
    pub header_deadline: Duration,
    /// From the end of a request's headers to the end of its body; then 408.
    pub body_deadline: Duration,
}

/// The time for the closing of TLS.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves the requests of one device until it closes the stream, or, when `stopping` becomes true, the one under way. Gives the
/// stream back, with what was read of it already, if the device has opened a WebSocket on it: what follows are frames.
pub async fn serve_device<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    device: Arc<dyn DeviceRequests>,
    limits: DeviceLimits,
    mut stopping: watch::Receiver<bool>,
) -> Option<(S, Bytes)> {
    let desk = Arc::new(Desk { device, limits, upgraded: AtomicBool::new(false) });
    let router = Router::new().fallback(answer).with_state(Arc::clone(&desk));
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        Box::pin(async move {
            let answered = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|never| match never {}))
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_deadline)
        .max_buf_size(limits.header_bytes.max(8 * 1024))
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
        () = stopped(&mut stopping) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    if let Err(error) = &ended {
        tracing::debug!(%error, "an HTTPS connection of a device ended early");
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if ended.is_ok() && desk.upgraded.load(Ordering::Relaxed) {
        return Some((stream, parts.read_buf));
    }
    let _ = timeout(FAREWELL, stream.shutdown()).await;
    None
}

/// What the requests of a device share.
struct Desk {
    device: Arc<dyn DeviceRequests>,
    limits: DeviceLimits,
    /// A WebSocket has been opened.
    upgraded: AtomicBool,
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request<Body>) -> Response<Body> {
    let trace = uuid::Uuid::new_v4().to_string();
    if request.uri().path().starts_with(est::PREFIX) {
        let response = est::answer(&*desk.device, request, desk.limits.body_deadline, &trace).await;
        count(response.status());
        return response;
    }
    if request.uri().path() == websocket::PATH {
        let response = websocket::open(&request, &trace);
        let opened = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        desk.upgraded.store(opened, Ordering::Relaxed);
        count(response.status());
        return response;
    }
    let (status, message) = match desk.take(request, &trace).await {
        Ok(()) => (StatusCode::OK, "OK".to_owned()),
        Err(refused) => {
            tracing::debug!(traceId = trace, status = refused.0.as_u16(), "a device's request was refused");
            refused
        }
    };
    count(status);
    reply(status, &message, &trace)
}

/// An answer in the form that AWS's have.
pub(crate) fn reply(status: StatusCode, message: &str, trace: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(json!({"message": message, "traceId": trace}).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn count(status: StatusCode) {
    metrics::counter!("jitp_device_http_requests_total", "status" => status.as_u16().to_string())
        .increment(1);
}

impl Desk {
    async fn take(&self, request: Request<Body>, trace: &str) -> Result<(), (StatusCode, String)> {
        let (parts, body) = request.into_parts();
        // Slashes of the topic may be encoded or not.
        let topic = parts.uri.path().strip_prefix("/topics/").filter(|topic| !topic.is_empty());
        let Some(topic) = topic else {
            return Err((StatusCode::NOT_FOUND, "Not Found".into()));
        };
        if parts.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".into()));
        }
        let publication = async {
            let malformed = || ApiError::invalid("topic", "expected UTF-8, percent-encoded");
            let topic = percent_decode(topic, false).ok_or_else(malformed)?;
            let query = decode_query(parts.uri.query().unwrap_or_default())?;
            let most = self.limits.payload_bytes;
            let too_large = || ApiError::payload_too_large(most);
            let payload = read_body(body, most, self.limits.body_deadline, too_large).await?;
            publication::read(topic, &query, &parts.headers, payload)
        };
        let publication =
            publication.await.map_err(|error: ApiError| (error.status(), error.message().to_owned()))?;
        self.device.publish(publication, trace).await.map_err(|error| match error {
            // Why is for the broker's log, which has it under the trace id.
            PublicationError::Forbidden(_) => (StatusCode::FORBIDDEN, "Forbidden".into()),
            PublicationError::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable: try again".into())
            }
            error => {
                let error = ApiError::from(error);
                (error.status(), error.message().to_owned())
            }
        })
    }
}

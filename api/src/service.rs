//! From an HTTP request to a reply: find the operation, read the body, verify the signature, run, answer.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jitp_provisioner::Provisioner;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::call::Call;
use crate::error::ApiError;
use crate::keys::AccessKeys;
use crate::operations::ROUTES;
use crate::route::{Match, Routes};
use crate::{health, signature};

/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;
/// From the end of a request's headers to the end of its body.
const BODY_DEADLINE: Duration = Duration::from_secs(20);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// What all requests share.
pub(crate) struct Shared {
    pub provisioner: Provisioner,
    pub keys: AccessKeys,
    pub endpoint: String,
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// Turns true, or closes, when the API stops: replies without an end then end.
    pub stopping: watch::Receiver<bool>,
}

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    router: Router,
}

impl Service {
    pub fn new(shared: Shared) -> Self {
        let routes = Arc::new(Routes::new(ROUTES));
        let shared = Arc::new(shared);
        let operations = {
            let shared = Arc::clone(&shared);
            move |request| answer_operation(Arc::clone(&shared), Arc::clone(&routes), request)
        };
        let router = Router::new()
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .fallback(move |State(_): State<Arc<Shared>>, request: Request<Body>| operations(request))
            .with_state(shared);
        Self { router }
    }

    /// Never fails and never panics; every reply carries a request id.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let id = uuid::Uuid::new_v4().to_string();
        let answer = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let mut response =
            match tracing::Instrument::instrument(answer, tracing::info_span!("api", request = %id)).await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => {
                    tracing::error!(request = %id, "an operation of the API panicked");
                    ApiError::internal().into_response()
                }
            };
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }
}

async fn answer_operation(
    shared: Arc<Shared>,
    routes: Arc<Routes>,
    request: Request<Body>,
) -> Response<Body> {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let Some(found) = routes.find(method.as_str(), &path) else {
        metrics::counter!("jitp_api_requests_total", "operation" => "unknown", "status" => "404")
            .increment(1);
        return ApiError::unknown_operation(&method, &path).into_response();
    };
    let operation = found.route.operation;
    let (response, failure) = match run(shared, &found, request).await {
        Ok(response) => (response, None),
        Err(error) => (error.clone().into_response(), Some(error)),
    };
    let status = response.status();
    tracing::debug!(
        operation,
        status = status.as_u16(),
        exception = failure.as_ref().map(ApiError::exception),
        micros = started.elapsed().as_micros(),
        "answered"
    );
    let labels = [("operation", operation.to_string()), ("status", status.as_u16().to_string())];
    metrics::counter!("jitp_api_requests_total", &labels).increment(1);
    metrics::histogram!("jitp_api_request_seconds", "operation" => operation).record(started.elapsed());
    response
}

async fn run(
    shared: Arc<Shared>,
    found: &Match<'_>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    let now = shared.provisioner.clock().now();
    let region = shared.provisioner.registry().region();
    let caller = signature::verify(&shared.keys, region, now, &parts, &body).await?;
    tracing::debug!(access_key = caller.access_key_id, "verified");
    let call = Call::decode(shared, found, parts, &body)?;
    Ok((found.route.run)(&call).await?.into_response())
}

async fn read(body: Body) -> Result<Bytes, ApiError> {
    let whole = Limited::new(body, LARGEST_BODY).collect();
    match tokio::time::timeout(BODY_DEADLINE, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::invalid_request(format!("the body is larger than {LARGEST_BODY} bytes")))
        }
        Ok(Err(_)) => Err(ApiError::invalid_request("the body could not be read to its end")),
        Err(_) => Err(ApiError::request_timeout()),
    }
}

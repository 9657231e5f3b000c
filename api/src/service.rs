//! From an HTTP request to a reply: find the operation, read the body, verify the signature, ask for the right, run,
//! audit, answer.
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jitp_provisioner::archive::Seed;
use jitp_provisioner::{AuditedCall, Provisioner};
use tokio::sync::watch;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use crate::call::Call;
use crate::error::ApiError;
use crate::in_flight::{InFlight, Place};
use crate::keys::{AccessKeys, KnownKey};
use crate::limits::Limits;
use crate::operations::ROUTES;
use crate::rates::Throttle;
use crate::reply::Reply;
use crate::route::{Match, Route, Routes};
use crate::{audited, health, reports, signature};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// What all requests share.
pub(crate) struct Shared {
    pub provisioner: Provisioner,
    pub keys: AccessKeys,
    pub limits: Limits,
    pub in_flight: InFlight,
    pub throttle: Throttle,
    pub endpoint: String,
    /// Is the API served over TLS?
    pub encrypted: bool,
    /// What ResetRegistry returns to; `None`: there is no such operation.
    pub reset: Option<Arc<Seed>>,
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
        let resets = shared.reset.is_some();
        let routes = ROUTES.iter().filter(|route| resets || route.operation != "ResetRegistry");
        let routes = Arc::new(Routes::new(routes));
        let shared = Arc::new(shared);
        let operations = {
            let shared = Arc::clone(&shared);
            move |request| answer_operation(Arc::clone(&shared), Arc::clone(&routes), request)
        };
        let router = Router::new()
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .route(reports::PATH, get(reports::fetch))
            .fallback(move |State(_): State<Arc<Shared>>, request: Request<Body>| operations(request))
            .with_state(shared);
        Self { router }
    }

    /// Never fails and never panics; every reply carries a request id.
    pub async fn answer(&self, mut request: Request<Body>, source: IpAddr) -> Response<Body> {
        let id = uuid::Uuid::new_v4().to_string();
        request.extensions_mut().insert(Origin { source, request_id: id.clone() });
        let answer = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let mut response = match answer.instrument(tracing::info_span!("api", request = %id)).await {
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

/// Where a request came from and how its reply is found again: put on it by the server.
#[derive(Clone)]
pub(crate) struct Origin {
    pub source: IpAddr,
    pub request_id: String,
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
    let (response, failure) = match run(shared, &found, request, started).await {
        Ok(reply) => (reply.into_response(), None),
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
    started: Instant,
) -> Result<Reply, ApiError> {
    let (parts, body) = request.into_parts();
    let most = shared.limits.body_bytes;
    let too_large = || ApiError::invalid_request(format!("the body is larger than {most} bytes"));
    let body = read_body(body, most, shared.limits.body_deadline, too_large).await?;
    let Caller { key, region } = authenticate(&shared, &parts, &body).await?;
    let most = shared.in_flight.most();
    let place = shared.in_flight.enter(&key.id).ok_or_else(|| ApiError::too_many_calls(most))?;

    let route = found.route;
    let taken = shared.throttle.take(route.operation, shared.provisioner.clock().now());
    taken.map_err(|rate| ApiError::rate_exceeded(route.operation, rate))?;
    let permitted = match key.role.allows(route.right) {
        true => Ok(()),
        false => Err(ApiError::unauthorized(&key.id, key.role, route.operation, route.right)),
    };
    let origin = parts.extensions.get::<Origin>().cloned();
    let call = Call::decode(Arc::clone(&shared), found, region, parts, &body);
    if !route.changes() && !route.makes_if_absent() {
        permitted?;
        let call = call?;
        let reply = (route.run)(&call).await.map_err(|error| error.for_region(call.region()))?;
        return Ok(reply.holding(place));
    }
    let change = Change { route, key: key.id, origin, permitted, call, started, shared, _place: place };
    // In a task of its own: a caller that goes away must not keep what it did out of the audit log.
    let done = tokio::spawn(change.run_audited().in_current_span()).await;
    done.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// Who calls, from where in AWS's world.
struct Caller {
    key: KnownKey,
    region: String,
}

async fn authenticate(shared: &Shared, parts: &Parts, body: &Bytes) -> Result<Caller, ApiError> {
    let registry = shared.provisioner.registry();
    let signed = signature::read(parts, registry.region(), shared.provisioner.clock().now())?;
    let key = shared.keys.find(registry, signed.access_key_id()).await?;
    let key = key.ok_or_else(ApiError::unrecognized_client)?;
    signed.check(&key.secret, parts, body).await?;
    if !key.active {
        return Err(ApiError::inactive_key(&key.id));
    }
    tracing::debug!(access_key = key.id, "verified");
    Ok(Caller { key, region: signed.region().to_string() })
}

/// A call that may change something.
struct Change {
    shared: Arc<Shared>,
    route: &'static Route,
    key: String,
    origin: Option<Origin>,
    permitted: Result<(), ApiError>,
    call: Result<Call, ApiError>,
    started: Instant,
    _place: Place,
}

impl Change {
    /// Runs it, with its record in the audit log; answers after that is durable.
    async fn run_audited(self) -> Result<Reply, ApiError> {
        let Self { shared, route, key, origin, permitted, call, started, _place } = self;
        let record = audited::record(&key, route.operation, origin.as_ref(), call.as_ref().ok());
        let audited = AuditedCall::begin(shared.provisioner.audit(), record, started);
        let call = call.map(|call| call.audited_as(&audited));
        let result = run_changing(route, permitted, call).await;
        if route.makes_if_absent() {
            return result;
        }
        match (audited.end(result.as_ref().err().map(ApiError::exception)).await, result) {
            (Err(error), Ok(_)) => {
                tracing::error!(%error, operation = route.operation, "a call was done but could not be audited");
                Err(error.into())
            }
            (Err(error), Err(failure)) => {
                tracing::warn!(%error, operation = route.operation, "a refused call could not be audited");
                Err(failure)
            }
            (Ok(()), result) => result,
        }
    }
}

async fn run_changing(
    route: &Route,
    permitted: Result<(), ApiError>,
    call: Result<Call, ApiError>,
) -> Result<Reply, ApiError> {
    permitted?;
    let call = call?;
    match AssertUnwindSafe((route.run)(&call)).catch_unwind().await {
        Ok(result) => result.map_err(|error| error.for_region(call.region())),
        Err(_) => {
            tracing::error!(operation = route.operation, "an operation of the API panicked");
            Err(ApiError::internal())
        }
    }
}

/// The whole body of a request: so many bytes at most, within a deadline.
pub(crate) async fn read_body(
    body: Body,
    most: usize,
    deadline: Duration,
    too_large: impl FnOnce() -> ApiError,
) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(deadline, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::invalid_request("the body could not be read to its end")),
        Err(_) => Err(ApiError::request_timeout()),
    }
}

//! `GET /healthz`, `GET /readyz`, `GET /metrics`: for supervisors and monitoring. None of them needs a signature.
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::{HeaderValue, Response, StatusCode, header};
use jitp_provisioner::Health;
use serde_json::{Value, json};

use crate::service::Shared;

/// The process is up and answers.
pub(crate) async fn healthz() -> Response<Body> {
    answer(StatusCode::OK, &json!({"status": "ok"}))
}

/// The registry can be read and written: 200; else 503 with why and what to do.
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let (status, document) = readiness(&shared.provisioner.health());
    answer(status, &document)
}

/// The process's metrics, as Prometheus text.
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let Some(render) = &shared.metrics else {
        return answer(StatusCode::NOT_FOUND, &json!({"message": "this process records no metrics"}));
    };
    let mut response = Response::new(Body::from(render()));
    let prometheus = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, prometheus);
    response
}

/// Status and document of a health.
pub(crate) fn readiness(health: &Health) -> (StatusCode, Value) {
    match health {
        Health::Ready => (StatusCode::OK, json!({"status": "ready"})),
        Health::ReadOnly(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({
                "status": "read-only",
                "reason": reason,
                "whatToDo": "Connected devices go on; nothing is provisioned or changed. Give the registry's disk free \
                             space, or mend or replace it, then look here again; restart jitp if it stays read-only.",
            }),
        ),
    }
}

fn answer(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_cannot_be_written_is_not_ready_and_says_why_and_what_to_do() {
        let (status, document) = readiness(&Health::ReadOnly("the disk is full".into()));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        insta::assert_json_snapshot!(document);
        assert_eq!(readiness(&Health::Ready).0, StatusCode::OK);
    }
}

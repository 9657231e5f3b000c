//! What an operation answers.
use axum::body::Body;
use futures_util::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;

/// The answer of an operation that succeeded.
pub(crate) enum Reply {
    /// A JSON document.
    Json(Vec<u8>),
    /// JSON lines without an end.
    Lines(Body),
    /// No body at all, as the data plane answers.
    Empty,
}

impl Reply {
    /// An operation without output.
    pub fn nothing() -> Self {
        Self::Json(b"{}".to_vec())
    }
    /// An operation without output that answers no body either.
    pub fn empty() -> Self {
        Self::Empty
    }
    /// The members of an AWS operation's output. Absent ones (`null`, at any depth) are left out.
    pub fn members(mut members: Value) -> Self {
        drop_nulls(&mut members);
        Self::Json(members.to_string().into_bytes())
    }
    /// A document of jitp's own, as it is.
    pub fn document(document: &impl Serialize) -> Result<Self, ApiError> {
        serde_json::to_vec(document).map(Self::Json).map_err(|error| {
            tracing::error!(%error, "a reply could not be written as JSON");
            ApiError::internal()
        })
    }
    /// Holds something until the reply has been sent, or the caller has gone.
    pub fn holding(self, held: impl Send + 'static) -> Self {
        match self {
            // It is sent from memory.
            Self::Json(json) => Self::Json(json),
            Self::Empty => Self::Empty,
            Self::Lines(lines) => {
                let chunks = lines.into_data_stream().map(move |chunk| {
                    let _ = &held;
                    chunk
                });
                Self::Lines(Body::from_stream(chunks))
            }
        }
    }
    /// As HTTP.
    pub fn into_response(self) -> Response<Body> {
        let (body, content_type) = match self {
            Self::Json(json) => (Body::from(json), "application/json"),
            Self::Lines(lines) => (lines, "application/x-ndjson"),
            Self::Empty => return Response::new(Body::empty()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}

/// Replies are built here and are a few levels deep, so the recursion is bounded.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_members_are_left_out_at_every_depth() {
        let Reply::Json(json) =
            Reply::members(json!({"a": null, "b": {"c": null, "d": [1, {"e": null}]}, "f": ""}))
        else {
            panic!("not JSON")
        };
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"b":{"d":[1,{}]},"f":""}"#);
    }
}

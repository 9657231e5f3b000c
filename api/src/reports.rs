//! Reports of registration tasks, for whoever has a link to one: the link's signature stands for an access key.
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use jitp_provisioner::Timestamp;
use jitp_provisioner::bulk::{OpenReport, ReportLink, ReportType};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::error::ApiError;
use crate::service::Shared;

/// Where links lead to.
pub(crate) const PATH: &str = "/jitp/v1/reports/{task}/{report}";

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// The query of a link.
#[derive(Deserialize)]
pub(crate) struct Signed {
    expires: u64,
    signature: String,
}

/// `GET /jitp/v1/reports/{task}/{report}?expires=…&signature=…`: JSON lines.
pub(crate) async fn fetch(
    State(shared): State<Arc<Shared>>,
    Path((task_id, report)): Path<(String, String)>,
    signed: Result<Query<Signed>, axum::extract::rejection::QueryRejection>,
) -> Response<Body> {
    let (Ok(Query(signed)), Ok(report)) = (signed, report.parse::<ReportType>()) else {
        return ApiError::no_report().into_response();
    };
    let link =
        ReportLink { task_id, report, expires: Timestamp(signed.expires), signature: signed.signature };
    match shared.provisioner.registration_tasks().open_report(&link).await {
        Ok(Some(report)) => sent(report, &link),
        Ok(None) => ApiError::no_report().into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}

fn sent(report: OpenReport, link: &ReportLink) -> Response<Body> {
    let OpenReport { file, bytes } = report;
    let chunks = stream::try_unfold((File::from_std(file), bytes), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        chunk.truncate(read);
        Ok(Some((Bytes::from(chunk), (file, left - read as u64))))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    let name =
        format!("attachment; filename=\"{}-{}.jsonl\"", link.task_id, link.report.as_str().to_lowercase());
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

//! The whole registry as one document (`docs/archive.md`).
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// `GET /jitp/v1/archive`: JSON lines of one moment, written while others go on. A reply that breaks off has no last line.
pub(super) async fn export(call: &Call) -> Result<Reply, ApiError> {
    let export = call.provisioner().export().await?;
    let lines = stream::try_unfold(export, |mut export| async move {
        match export.next().await {
            Ok(lines) => Ok(lines.map(|lines| (Bytes::from(lines), export))),
            Err(error) => {
                tracing::warn!(%error, "an archive breaks off");
                Err(error)
            }
        }
    });
    Ok(Reply::Lines(Body::from_stream(lines)))
}

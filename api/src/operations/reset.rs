//! Returning to where the registry began: for tests, and only where that was allowed at the start.
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// `POST /jitp/v1/reset`: when it is answered, the registry is what it began with; sessions end within a moment.
pub(super) async fn reset(call: &Call) -> Result<Reply, ApiError> {
    let seed = call.shared().reset.as_ref();
    // Without a seed there is no route that leads here.
    let seed = seed.ok_or_else(ApiError::internal)?;
    call.provisioner().reset(seed).await?;
    Ok(Reply::nothing())
}

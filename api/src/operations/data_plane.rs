//! AWS's data plane, as far as operators call it: end a connection, publish a message
//! (`spec/control-plane.md` section 9).
use std::sync::Arc;

use jitp_provisioner::{DataPlane, DeleteConnection};

use crate::call::Call;
use crate::error::ApiError;
use crate::publication::flag;
use crate::reply::Reply;
use crate::text::Bounded;

/// DeleteConnection.
pub(super) async fn delete_connection(call: &Call) -> Result<Reply, ApiError> {
    let client_id = call.label::<Bounded<1, 128>>("clientId").required()?.0;
    if client_id.starts_with('$') {
        return Err(ApiError::invalid("clientId", "no client id starts with $"));
    }
    let given = |name: &'static str| call.raw_query(name).map_or(Ok(false), |text| flag(name, text));
    let how = DeleteConnection {
        clean_session: given("cleanSession")?,
        prevent_will: given("preventWillMessage")?,
    };
    match broker(call)?.delete_connection(&client_id, how) {
        true => Ok(Reply::empty()),
        false => Err(ApiError::not_found(format!("no client with the id {client_id:?} is connected"))),
    }
}

/// Publish.
pub(super) async fn publish(call: &Call) -> Result<Reply, ApiError> {
    broker(call)?.publish(call.publication()?).await?;
    Ok(Reply::empty())
}

fn broker(call: &Call) -> Result<Arc<dyn DataPlane>, ApiError> {
    call.provisioner().data_plane().get().ok_or_else(ApiError::no_broker)
}

//! Access keys: who may call this API.
use jitp_provisioner::{AccessKeyRecord, AccessKeyStatus, Role};
use serde_json::{Value, json};

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// `POST /jitp/v1/keys`: `role` (`admin`, `operator` or `viewer`), `description`. The only answer that shows the secret.
pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    let role: Role = call.member("role").required()?;
    let description: String = call.member("description").or_default()?;
    let key = call.registry().create_access_key(role, &description).await?;
    let mut members = describe(&key);
    if let Some(members) = members.as_object_mut() {
        members.insert("secretAccessKey".into(), key.secret.expose().into());
    }
    Ok(Reply::members(members))
}

/// `GET /jitp/v1/keys`: all keys, those of the data directory or the environment first.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let own = call.shared().keys.0.iter().map(|key| {
        json!({"accessKeyId": key.id, "role": Role::Admin, "status": AccessKeyStatus::Active, "builtIn": true})
    });
    let stored = call.registry().access_keys().await?;
    let keys: Vec<Value> = own.chain(stored.iter().map(describe)).collect();
    Ok(Reply::members(json!({"accessKeys": keys})))
}

/// `PATCH /jitp/v1/keys/{accessKeyId}`: `status` (`ACTIVE` or `INACTIVE`).
pub(super) async fn update(call: &Call) -> Result<Reply, ApiError> {
    let id = stored(call)?;
    let status: AccessKeyStatus = call.member("status").required()?;
    call.registry().set_access_key_status(&id, status).await?;
    Ok(Reply::nothing())
}

/// `DELETE /jitp/v1/keys/{accessKeyId}`.
pub(super) async fn delete(call: &Call) -> Result<Reply, ApiError> {
    call.registry().delete_access_key(&stored(call)?).await?;
    Ok(Reply::nothing())
}

/// The id of a key that is stored in the registry.
fn stored(call: &Call) -> Result<String, ApiError> {
    let id: String = call.label("accessKeyId").required()?;
    if call.shared().keys.0.iter().any(|own| own.id == id) {
        let why =
            "this key comes from the data directory or the environment and always works: change it there";
        return Err(ApiError::invalid("accessKeyId", why));
    }
    Ok(id)
}

fn describe(key: &AccessKeyRecord) -> Value {
    json!({
        "accessKeyId": key.id,
        "role": key.role,
        "status": key.status,
        "description": (!key.description.is_empty()).then_some(&key.description),
        "creationDate": key.created_at.epoch_seconds(),
        "builtIn": false,
    })
}

//! Setting the status of a certificate or of a CA certificate.
use super::connect;
use crate::args::{Global, Target};
use crate::client::encode;
use crate::exit::Exit;
use crate::output;
use serde_json::json;

/// A certificate or CA certificate on a broker.
pub struct Subject<'a> {
    /// What a person calls it: `CA`.
    pub word: &'a str,
    /// Its collection in the API: `cacertificate`.
    pub collection: &'a str,
    pub id: &'a str,
    pub target: &'a Target,
}

/// Sets its status and says so.
pub async fn set(global: &Global, subject: &Subject<'_>, status: &str) -> anyhow::Result<Exit> {
    let Subject { word, collection, id, target } = subject;
    let path = format!("/{collection}/{}?newStatus={status}", encode(id));
    connect(global, target)?.put(&path, &json!({})).await?;
    if global.json {
        return output::json(&json!({ "certificateId": id, "status": status }));
    }
    output::text(&format!("{word} {id} is {status}\n"))
}

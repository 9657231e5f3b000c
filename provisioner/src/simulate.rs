//! The dry run: what would a certificate and a template bring about here? Nothing is written.
use jitp_templates::Plan;

/// A resource of the plan that exists already, and what its override would do.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Existing {
    /// Logical name in the template.
    pub resource: String,
    /// `thing pump-1`, `policy gateway-base`, `thing group inbound`.
    pub what: String,
    pub exists: bool,
    /// What would happen: `kept`, `replaced`, `merged`, `created`, `reused`, `FAIL: …`, `missing: …`.
    pub effect: String,
}

/// The outcome of a dry run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Simulation {
    pub plan: Plan,
    pub existing: Vec<Existing>,
    /// Reason code and message of the first failure; `None` means it would succeed.
    pub failure: Option<(crate::reason::ReasonCode, String)>,
    /// The effective permissions that the device would get, connecting with its thing's name as client id.
    pub permissions: serde_json::Value,
}

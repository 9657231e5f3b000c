//! The policies of a connection: which apply, and what they were computed from.
pub(crate) mod certificate_fields;

use crate::change::Dependency;
use std::net::IpAddr;
use std::sync::Arc;

/// What CONNECT said.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ConnectContext {
    pub client_id: Arc<str>,
    pub source_ip: IpAddr,
    pub server_name: Option<Arc<str>>,
    /// Clean session 0, or a session expiry above 0.
    pub persistent: bool,
    pub will_topic: Option<Arc<str>>,
}

/// The permissions of a connection.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Granted {
    pub permissions: jitp_policies::Permissions,
    /// When a change touches one of these, compute the permissions again.
    pub depends_on: Vec<Dependency>,
}

//! Starting and stopping the API.
use crate::AccessKeys;
use jitp_provisioner::Provisioner;
use std::net::SocketAddr;

/// How the API behaves.
#[derive(Clone)]
pub struct Config {
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    pub keys: AccessKeys,
    /// What DescribeEndpoint answers: host, or `host:port` where the port is not 8883.
    pub endpoint: String,
    /// Renders `GET /metrics` (Prometheus text); `None`: 404.
    pub metrics: Option<std::sync::Arc<dyn Fn() -> String + Send + Sync>>,
}

/// A running API.
pub struct Api {}

impl Api {
    /// Binds and serves until [`Api::shutdown`].
    pub async fn start(_config: Config, _provisioner: Provisioner) -> std::io::Result<Self> {
        unimplemented!()
    }
    /// The bound address, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        unimplemented!()
    }
    /// Stops accepting, lets requests under way end, at most `deadline`.
    pub async fn shutdown(self, _deadline: std::time::Duration) {
        unimplemented!()
    }
}

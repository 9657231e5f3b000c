//! Starting and stopping the broker.
use crate::Config;
use jitp_provisioner::Provisioner;
use std::net::SocketAddr;

/// The server's own certificate chain and key, PEM.
pub struct ServerIdentity {
    /// Leaf first, then the CA.
    pub certificate_chain: String,
    /// PKCS#8.
    pub private_key: String,
}

/// A running broker.
pub struct Broker {}

impl Broker {
    /// Binds and serves until [`Broker::shutdown`].
    pub async fn start(
        _config: Config,
        _identity: ServerIdentity,
        _provisioner: Provisioner,
    ) -> std::io::Result<Self> {
        unimplemented!()
    }
    /// The bound address, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        unimplemented!()
    }
    /// Stops accepting, disconnects every client (MQTT 5: 0x8B), waits until sessions and events are at rest, at most
    /// `deadline`.
    pub async fn shutdown(self, _deadline: std::time::Duration) {
        unimplemented!()
    }
}

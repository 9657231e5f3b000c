//! Starting and stopping the broker.
use crate::backend::{Backend, SessionEnd};
use crate::config::Config;
use crate::connection::Shared;
use crate::events;
use crate::listener;
use jitp_provisioner::Provisioner;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// The server's own certificate chain and key, PEM.
pub struct ServerIdentity {
    /// Leaf first, then the CA.
    pub certificate_chain: String,
    /// PKCS#8.
    pub private_key: String,
}

/// A running broker. Dropping it stops it at once; [`Broker::shutdown`] stops it in order.
pub struct Broker {
    local_address: SocketAddr,
    backend: Backend,
    /// One for each connection that may be.
    places: Arc<Semaphore>,
    connections: usize,
    stop_accepting: watch::Sender<bool>,
    stop_following: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
    followers: Vec<JoinHandle<()>>,
}

impl Broker {
    /// Binds and serves until [`Broker::shutdown`]. Call within a tokio runtime.
    ///
    /// Fails when the address cannot be bound or the identity is not a certificate chain with its key.
    pub async fn start(
        config: Config,
        identity: ServerIdentity,
        provisioner: Provisioner,
    ) -> std::io::Result<Self> {
        let listener = listener::bind(config.listen)?;
        let local_address = listener.local_addr()?;
        let (stop_accepting, accepting) = watch::channel(false);
        let shared = Shared::start(config, &identity, provisioner.clone(), accepting.clone())?;
        let backend = shared.backend.clone();
        let connections = shared.limits.connections.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let places = Arc::new(Semaphore::new(connections));
        let (stop_following, following) = watch::channel(false);
        let followers = vec![
            tokio::spawn(Arc::clone(&shared.live).follow(following.clone())),
            tokio::spawn(events::follow(provisioner, backend.clone(), following)),
        ];
        let acceptor = tokio::spawn(listener::accept(listener, shared, Arc::clone(&places), accepting));
        Ok(Self {
            local_address,
            backend,
            places,
            connections,
            stop_accepting,
            stop_following,
            acceptor,
            followers,
        })
    }

    /// The bound address, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Stops accepting, disconnects every client (MQTT 5: 0x8B), waits until sessions and events are at rest,
    /// at most `deadline`.
    pub async fn shutdown(mut self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        self.stop_accepting.send_replace(true);
        let _ = timeout_at(deadline, &mut self.acceptor).await;
        self.drain(deadline).await;
        self.stop_following.send_replace(true);
        for follower in &mut self.followers {
            let _ = timeout_at(deadline, follower).await;
        }
    }

    /// Ends all sessions, also those that are still on their way in, until no connection is left.
    async fn drain(&self, deadline: Instant) {
        const AGAIN: Duration = Duration::from_millis(50);
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        while Instant::now() < deadline {
            self.backend.disconnect_all(SessionEnd::ShuttingDown);
            let step = (Instant::now() + AGAIN).min(deadline);
            if timeout_at(step, self.places.acquire_many(all)).await.is_ok() {
                return;
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.backend.disconnect_all(SessionEnd::ShuttingDown);
        for follower in &self.followers {
            follower.abort();
        }
    }
}

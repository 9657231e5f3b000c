//! Starting and stopping the broker.
use crate::backend::{Backend, SessionEnd};
use crate::config::Config;
use crate::connection::{Door, Shared};
use crate::control::Control;
use crate::events;
use crate::listener;
use jitp_provisioner::{DataPlane, Provisioner};
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
    https_address: Option<SocketAddr>,
    /// Answers the control plane while it is held.
    _control: Arc<dyn DataPlane>,
    backend: Backend,
    /// One for each connection that may be.
    places: Arc<Semaphore>,
    connections: usize,
    stop_accepting: watch::Sender<bool>,
    stop_following: watch::Sender<bool>,
    acceptors: Vec<JoinHandle<()>>,
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
        let https = config.https.as_ref().map(|https| listener::bind(https.listen)).transpose()?;
        let https_address = https.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?;
        let (stop_accepting, accepting) = watch::channel(false);
        let shared = Shared::start(config, &identity, provisioner.clone(), accepting.clone()).await?;
        let backend = shared.backend.clone();
        let connections = shared.limits.connections.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let places = Arc::new(Semaphore::new(connections));
        let (stop_following, following) = watch::channel(false);
        let followers = vec![
            tokio::spawn(Arc::clone(&shared.live).follow(following.clone())),
            tokio::spawn(events::follow(provisioner, backend.clone(), following)),
        ];
        let control: Arc<dyn DataPlane> = Arc::new(Control(Arc::clone(&shared)));
        shared.provisioner.data_plane().take(&control);
        let doors = [(Some(listener), Door::Mqtt), (https, Door::Http)];
        let doors = doors.into_iter().filter_map(|(listener, door)| Some((listener?, door)));
        let accept = |(listener, door)| {
            let (shared, places) = (Arc::clone(&shared), Arc::clone(&places));
            tokio::spawn(listener::accept(listener, shared, door, places, accepting.clone()))
        };
        let acceptors = doors.map(accept).collect();
        Ok(Self {
            local_address,
            https_address,
            _control: control,
            backend,
            places,
            connections,
            stop_accepting,
            stop_following,
            acceptors,
            followers,
        })
    }

    /// The bound address, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Where devices publish over HTTPS, with the real port.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https_address
    }

    /// Stops accepting, disconnects every client (MQTT 5: 0x8B), waits until sessions and events are at rest and
    /// stored, at most `deadline`.
    pub async fn shutdown(mut self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        self.stop_accepting.send_replace(true);
        for acceptor in &mut self.acceptors {
            let _ = timeout_at(deadline, acceptor).await;
        }
        self.drain(deadline).await;
        self.stop_following.send_replace(true);
        for follower in &mut self.followers {
            let _ = timeout_at(deadline, follower).await;
        }
        let _ = timeout_at(deadline, self.backend.settled()).await;
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
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
        self.backend.disconnect_all(SessionEnd::ShuttingDown);
        for follower in &self.followers {
            follower.abort();
        }
    }
}

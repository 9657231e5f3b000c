//! Starting and stopping the broker.
use crate::backend::{Backend, SessionEnd};
use crate::config::Config;
use crate::connection::Shared;
use crate::control::Control;
use crate::events;
use crate::listener::{Bound, Listener, Protocol};
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
    listening: Vec<(Protocol, SocketAddr)>,
    local_address: SocketAddr,
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
    /// Fails when an address cannot be bound, no listener speaks MQTT, one speaks HTTPS without [`Config::http`], or the
    /// identity is not a certificate chain with its key.
    pub async fn start(
        config: Config,
        identity: ServerIdentity,
        provisioner: Provisioner,
    ) -> std::io::Result<Self> {
        let is_https = |listener: &&Listener| listener.protocol == Protocol::Https;
        if let (None, Some(listener)) = (&config.http, config.listeners.iter().find(is_https)) {
            return Err(invalid(format!(
                "{} ({}) speaks HTTPS, but nobody serves it: give Config.http",
                listener.address, listener.name
            )));
        }
        let bound: Vec<Bound> = config.listeners.iter().map(Listener::bind).collect::<Result<_, _>>()?;
        let listening: Vec<_> = bound.iter().map(|bound| (bound.door.protocol, bound.address)).collect();
        let first = listening.iter().find(|(protocol, _)| *protocol == Protocol::Mqtts);
        let Some(&(_, local_address)) = first else {
            return Err(invalid("no listener speaks MQTT over TLS".to_owned()));
        };
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
        let accept = |bound: Bound| {
            tokio::spawn(bound.accept(Arc::clone(&shared), Arc::clone(&places), accepting.clone()))
        };
        let acceptors = bound.into_iter().map(accept).collect();
        Ok(Self {
            listening,
            local_address,
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

    /// The first bound address for MQTT over TLS, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// All bound addresses, with the real ports, in the order of the configuration.
    pub fn listening(&self) -> &[(Protocol, SocketAddr)] {
        &self.listening
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
            let ending = self.backend.disconnect_all_in_turns(SessionEnd::ShuttingDown);
            if timeout_at(deadline, ending).await.is_err() {
                return;
            }
            let step = (Instant::now() + AGAIN).min(deadline);
            if timeout_at(step, self.places.acquire_many(all)).await.is_ok() {
                return;
            }
        }
    }
}

fn invalid(message: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, message)
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

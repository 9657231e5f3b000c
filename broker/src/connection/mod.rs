//! One device, from its TCP connection to its end: handshake, CONNECT, admission, MQTT; perhaps over WebSocket.
mod answering;
pub(crate) mod codec;
mod ending;
mod established;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod exercise;
mod held;
mod incoming;
mod opening;
mod outgoing;
mod pace;
mod packet_ids;
mod patience;
mod pipe;
mod refusal;
mod will;

use crate::backend::{Backend, BackendOptions};
use crate::config::{Config, Limits};
use crate::device_http::{Device, DeviceHttp, Upgraded};
use crate::events::Lifecycle;
use crate::figures::Figures;
use crate::listener::{Door, Protocol};
use crate::live::LiveSessions;
use crate::overload::{Because, Handshakes, RefusedConnections, Turnstile};
use crate::rates::RateLimits;
use crate::server::ServerIdentity;
use crate::tls::{self, HandshakeFailure, Peer, Protocols, TlsStream};
use crate::topic::TopicLimits;
use crate::websocket::WebSocket;
use codec::{Connect, ConnectRefused, Outbound, next_frame};
use established::Established;
use jitp_provisioner::sessions::SessionStore;
use jitp_provisioner::{Answer, Provisioner};
use mqtt_protocol_core::mqtt::packet::PacketType;
use pipe::{ByteStream, Pipe};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

/// What all connections of a broker share.
pub(crate) struct Shared {
    pub config: Config,
    /// The limits in force.
    pub limits: Limits,
    pub topics: TopicLimits,
    pub acceptor: TlsAcceptor,
    pub http: Option<HttpDoor>,
    pub backend: Backend,
    pub provisioner: Provisioner,
    pub live: Arc<LiveSessions>,
    pub lifecycle: Lifecycle,
    pub figures: Figures,
    pub rates: RateLimits,
    pub refused: RefusedConnections,
    /// Places for TLS handshakes; further ones wait in order.
    pub handshakes: Handshakes,
    /// All work before CONNACK passes here.
    pub turnstile: Turnstile,
    /// And all work on the end of a connection here.
    pub ends: Turnstile,
    /// Becomes true when the broker stops: who is not past CONNACK by then is let go.
    pub stopping: watch::Receiver<bool>,
}

/// What HTTP needs beside MQTT.
pub(crate) struct HttpDoor {
    pub acceptor: TlsAcceptor,
    pub http: Arc<dyn DeviceHttp>,
}

impl Shared {
    /// For a broker that starts. Call within a tokio runtime. `stopping` becomes true when it stops.
    ///
    /// Fails with `InvalidInput` when the identity is not a certificate chain with its key, and with `InvalidData` when what is
    /// stored of sessions cannot be read.
    pub(crate) async fn start(
        config: Config,
        identity: &ServerIdentity,
        provisioner: Provisioner,
        stopping: watch::Receiver<bool>,
    ) -> std::io::Result<Arc<Self>> {
        let sessions = provisioner.sessions();
        Self::start_over(sessions, config, identity, provisioner, stopping).await
    }

    /// The same with sessions that are kept elsewhere.
    async fn start_over(
        sessions: SessionStore,
        config: Config,
        identity: &ServerIdentity,
        provisioner: Provisioner,
        stopping: watch::Receiver<bool>,
    ) -> std::io::Result<Arc<Self>> {
        let limits = config.limits_in_force();
        let protocols = if config.http.is_some() { Protocols::MqttAndHttp } else { Protocols::Mqtt };
        let acceptor = tls::acceptor(identity, protocols)?;
        let http = match &config.http {
            Some(http) => {
                Some(HttpDoor { acceptor: tls::acceptor(identity, Protocols::Http)?, http: Arc::clone(http) })
            }
            None => None,
        };
        let options = BackendOptions::new(&limits, config.profile);
        let clock = Arc::clone(provisioner.clock());
        let backend = Backend::restore(options, sessions, clock, &will::reviving(&provisioner))
            .await
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
        Ok(Arc::new(Self {
            topics: TopicLimits::from(&limits),
            acceptor,
            http,
            lifecycle: Lifecycle::new(
                backend.clone(),
                Arc::clone(provisioner.clock()),
                provisioner.registry().connectivity().clone(),
            ),
            live: LiveSessions::new(provisioner.clone(), backend.clone(), config.recheck_connect),
            backend,
            figures: Figures::register(),
            rates: RateLimits::new(limits.rates),
            refused: RefusedConnections::register(),
            handshakes: Handshakes::new(
                limits.handshakes,
                limits.waiting_handshakes,
                limits.handshake_deadline,
            ),
            turnstile: Turnstile::new(),
            ends: Turnstile::new(),
            provisioner,
            stopping,
            limits,
            config,
        }))
    }
}

/// Serves a connection until it ends. What comes before MQTT is on the heap, so that an idle device does not
/// pay for it.
pub(crate) async fn serve(shared: Arc<Shared>, door: Arc<Door>, socket: TcpStream, peer: SocketAddr) {
    let stopping = shared.stopping.clone();
    let passing = Arc::clone(&shared);
    let beginning = Box::pin(passing.turnstile.pass(begin(shared, &door, socket, peer)));
    let begun = unless_stopped(stopping.clone(), beginning).await;
    match begun {
        Some(Begun::Mqtt(established)) => established.run().await,
        Some(Begun::Http(serving, device)) => {
            let Some(upgraded) = serving.await else { return };
            let beginning = Box::pin(passing.turnstile.pass(greet_over_websocket(&device, upgraded)));
            let begun = unless_stopped(stopping, beginning).await;
            if let Some(established) = begun {
                drop(device);
                established.run().await;
            }
        }
        None => {}
    }
}

/// `None`, too, when the broker stops before the connection has become something.
async fn unless_stopped<T>(
    mut stopping: watch::Receiver<bool>,
    beginning: impl Future<Output = Option<T>> + Unpin,
) -> Option<T> {
    tokio::select! {
        begun = beginning => begun,
        _ = stopping.wait_for(|stopping| *stopping) => None,
    }
}

/// What a connection has become.
enum Begun {
    Mqtt(Box<Established<TlsStream>>),
    /// Perhaps it becomes MQTT over WebSocket.
    Http(Answer<'static, Option<Upgraded>>, Arc<Device>),
}

/// From TCP to CONNACK, or to where HTTP begins. `None`: the connection is closed.
async fn begin(shared: Arc<Shared>, door: &Door, socket: TcpStream, peer: SocketAddr) -> Option<Begun> {
    let mut source = peer;
    let (stream, peer) = match arrive(&shared, door, socket, &mut source).await {
        Ok(Some(shaken)) => shaken,
        Ok(None) => {
            shared.refused.refuse(Because::WaitingHandshakes, source);
            return None;
        }
        Err(failure) => {
            refusal::of_handshake(&shared, door, source, &failure);
            return None;
        }
    };
    let by_name = stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_HTTP_CERTIFICATE);
    let http = shared.http.as_ref().filter(|_| by_name || door.protocol == Protocol::Https);
    if let Some(http) = http.map(|door| Arc::clone(&door.http)) {
        let stopping = shared.stopping.clone();
        let device = Arc::new(Device::new(shared, peer, source));
        return Some(Begun::Http(http.serve(stream, Arc::clone(&device), stopping), device));
    }
    greet(shared, stream, peer, source).await.map(Begun::Mqtt)
}

/// From the opening of a WebSocket to CONNACK.
async fn greet_over_websocket(
    device: &Device,
    upgraded: Upgraded,
) -> Option<Box<Established<WebSocket<TlsStream>>>> {
    let socket = WebSocket::new(upgraded.stream, upgraded.received);
    greet(Arc::clone(&device.shared), socket, device.peer.clone(), device.source).await
}

/// From the handshake to CONNACK: MQTT begins.
async fn greet<S: ByteStream>(
    shared: Arc<Shared>,
    stream: S,
    peer: Peer,
    source: SocketAddr,
) -> Option<Box<Established<S>>> {
    let mut pipe = Pipe::new(stream, shared.limits.write_deadline);
    let connect = read_connect(&shared, &mut pipe, &peer, source).await?;
    opening::open(&shared, pipe, peer, source, connect).await
}

/// All that comes before the first byte of MQTT or HTTP, within the deadline of the handshake. `source` becomes the address
/// that a load balancer tells. `None`: too many wait for their handshake.
async fn arrive(
    shared: &Shared,
    door: &Door,
    mut socket: TcpStream,
    source: &mut SocketAddr,
) -> Result<Option<(TlsStream, Peer)>, HandshakeFailure> {
    let deadline = shared.limits.handshake_deadline;
    let arrive = async {
        if let Some(proxies) = &door.proxies {
            *source = proxies.client(&mut socket, *source).await?;
        }
        shake_hands(shared, door, socket).await
    };
    timeout(deadline, arrive).await.unwrap_or_else(|_| Err(HandshakeFailure::too_slow(deadline)))
}

/// A client that says nothing takes no place from those that do. `None`: too many wait for their handshake.
async fn shake_hands(
    shared: &Shared,
    door: &Door,
    socket: TcpStream,
) -> Result<Option<(TlsStream, Peer)>, HandshakeFailure> {
    let mut first = [0];
    match socket.peek(&mut first).await {
        Ok(1) => {}
        _ => return Err(HandshakeFailure::nothing_said()),
    }
    if let Some(failure) = HandshakeFailure::of_first_byte(first[0]) {
        return Err(failure);
    }
    let Some(_place) = shared.handshakes.place().await else { return Ok(None) };
    let acceptor = match (door.protocol, &shared.http) {
        (Protocol::Https, Some(http)) => &http.acceptor,
        _ => &shared.acceptor,
    };
    tls::handshake(acceptor, socket).await.map(Some)
}

/// Reads CONNECT, within its deadline and the size limit. `None`: there was none, and the client knows what
/// can be said.
async fn read_connect<S: ByteStream>(
    shared: &Shared,
    pipe: &mut Pipe<S>,
    peer: &Peer,
    source: SocketAddr,
) -> Option<Connect> {
    let deadline = Instant::now() + shared.limits.connect_deadline;
    let refused = loop {
        match next_frame(pipe.received(), shared.limits.packet_bytes) {
            Err(violation) => {
                break ConnectRefused {
                    answer: None,
                    message: format!("the client sent {}", violation.message),
                };
            }
            Ok(Some((frame, _))) if frame.kind != PacketType::Connect => {
                let message = format!("the first packet is {} and not CONNECT", frame.kind.as_str());
                break ConnectRefused { answer: None, message };
            }
            Ok(Some((frame, length))) => match Connect::parse(&frame) {
                Ok(connect) => {
                    pipe.consume(length);
                    return Some(connect);
                }
                Err(refused) => break refused,
            },
            Ok(None) => {}
        }
        let message = match timeout_at(deadline, pipe.receive()).await {
            Ok(Ok(read)) if read > 0 => continue,
            Ok(ended) => {
                let error = ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                refusal::gone(peer, source, &error);
                return None;
            }
            Err(_) => format!("no whole CONNECT came within {:?}", shared.limits.connect_deadline),
        };
        break ConnectRefused { answer: None, message };
    };
    refusal::of_connect(shared, peer, source, &refused);
    if let Some((version, code)) = refused.answer {
        let mut out = Outbound::new(version, u32::MAX);
        if out.connack_refused(code, None) {
            pipe.send_last(&mut out).await;
        }
    }
    pipe.close().await;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        fn task<F: Future>(_: impl FnOnce(Arc<Shared>, Arc<Door>, TcpStream, SocketAddr) -> F) -> usize {
            size_of::<F>()
        }
        let (task, state) = (task(serve), size_of::<Established<TlsStream>>());
        assert!(task + state <= 3072, "{task} of the task and {state} of state");
    }
}

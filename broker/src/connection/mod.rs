//! One device, from its TCP connection to its end: handshake, CONNECT, admission, MQTT.
pub(crate) mod codec;
mod ending;
mod established;
mod incoming;
mod opening;
mod pipe;
mod refusal;
mod will;

use crate::backend::Backend;
use crate::config::{Config, Limits};
use crate::events::Lifecycle;
use crate::figures::Figures;
use crate::live::LiveSessions;
use crate::tls::{self, HandshakeFailure, Peer, TlsStream};
use crate::topic::TopicLimits;
use codec::{Connect, ConnectRefused, Outbound, next_frame};
use established::Established;
use jitp_provisioner::Provisioner;
use mqtt_protocol_core::mqtt::packet::PacketType;
use pipe::Pipe;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

/// What all connections of a broker share.
pub(crate) struct Shared {
    pub config: Config,
    /// The limits in force.
    pub limits: Limits,
    pub topics: TopicLimits,
    pub acceptor: TlsAcceptor,
    pub backend: Backend,
    pub provisioner: Provisioner,
    pub live: Arc<LiveSessions>,
    pub lifecycle: Lifecycle,
    pub figures: Figures,
    /// Places for TLS handshakes; further ones wait in order.
    pub handshakes: Semaphore,
    /// Becomes true when the broker stops: who is not past CONNACK by then is let go.
    pub stopping: watch::Receiver<bool>,
}

/// Serves a connection until it ends. What comes before MQTT is on the heap, so that an idle device does not
/// pay for it.
pub(crate) async fn serve(shared: Arc<Shared>, socket: TcpStream, source: SocketAddr) {
    let mut stopping = shared.stopping.clone();
    let established = tokio::select! {
        established = Box::pin(establish(shared, socket, source)) => established,
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    if let Some(established) = established {
        established.run().await;
    }
}

/// From TCP to CONNACK. `None`: the connection is closed.
async fn establish(shared: Arc<Shared>, socket: TcpStream, source: SocketAddr) -> Option<Box<Established>> {
    let (stream, peer) = match shake_hands(&shared, socket).await {
        Ok(shaken) => shaken,
        Err(failure) => {
            refusal::of_handshake(&shared, source, &failure);
            return None;
        }
    };
    let mut pipe = Pipe::new(stream, shared.limits.write_deadline);
    let connect = read_connect(&shared, &mut pipe, &peer, source).await?;
    opening::open(&shared, pipe, peer, source, connect).await
}

/// The handshake, within its deadline. A client that says nothing takes no place from those that do.
async fn shake_hands(shared: &Shared, socket: TcpStream) -> Result<(TlsStream, Peer), HandshakeFailure> {
    let deadline = shared.limits.handshake_deadline;
    let shake = async {
        let mut first = [0];
        match socket.peek(&mut first).await {
            Ok(1) => {}
            _ => return Err(HandshakeFailure::nothing_said()),
        }
        if let Some(failure) = HandshakeFailure::of_first_byte(first[0]) {
            return Err(failure);
        }
        let _place = shared.handshakes.acquire().await;
        tls::handshake(&shared.acceptor, socket).await
    };
    timeout(deadline, shake).await.unwrap_or_else(|_| Err(HandshakeFailure::too_slow(deadline)))
}

/// Reads CONNECT, within its deadline and the size limit. `None`: there was none, and the client knows what
/// can be said.
async fn read_connect(shared: &Shared, pipe: &mut Pipe, peer: &Peer, source: SocketAddr) -> Option<Connect> {
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
            Ok(Ok(_)) => "the client closed the connection before a whole CONNECT".to_owned(),
            Ok(Err(error)) => format!("the connection broke before a whole CONNECT: {error}"),
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
        fn task<F: Future>(_: impl FnOnce(Box<Established>) -> F) -> usize {
            size_of::<F>()
        }
        let (task, state) = (task(Established::run), size_of::<Established>());
        assert!(task + state <= 4096, "{task} of the task and {state} of state");
    }
}

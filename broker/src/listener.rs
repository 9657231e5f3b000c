//! Listeners: binding, and accepting TCP connections up to the limit.
use crate::connection::{self, Shared};
use crate::overload::{Because, go_last};
use crate::proxy_protocol::Proxies;
use socket2::{Domain, Protocol as Transport, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

/// Connections that the kernel keeps for us while we are busy: a fleet that comes back at once is not turned
/// away.
const BACKLOG: i32 = 4096;
/// So many are accepted at once, then others have their turn.
const AT_ONCE: usize = 16;
/// The pause after accept failed for want of something, as file descriptors.
const BREATHER: Duration = Duration::from_millis(50);

/// Where devices connect. All of it is TLS with client certificates.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Port 0 picks a free one: see [`crate::Broker::listening`]. `[::]` takes IPv4, too.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Set where devices come through load balancers that tell their addresses by the PROXY protocol.
    pub proxies: Option<Proxies>,
    /// What the operator calls it; errors say it.
    pub name: String,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT over TLS.
    Mqtts,
    /// HTTPS, and MQTT over WebSocket.
    Https,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtts => "mqtts",
            Self::Https => "https",
        })
    }
}

impl Listener {
    /// Fails with an error that names the address and what the operator calls it.
    pub(crate) fn bind(&self) -> io::Result<Bound> {
        let bound = bind(self.address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = bound.map_err(|error| {
            let message = format!("cannot listen on {} ({}): {error}", self.address, self.name);
            io::Error::new(error.kind(), message)
        })?;
        let door = Door { protocol: self.protocol, proxies: self.proxies.clone(), port: address.port() };
        Ok(Bound { socket, address, door: Arc::new(door) })
    }
}

/// A listener that is bound.
pub(crate) struct Bound {
    socket: TcpListener,
    pub address: SocketAddr,
    pub door: Arc<Door>,
}

/// What a connection must know of the listener that it came to.
pub(crate) struct Door {
    pub protocol: Protocol,
    pub proxies: Option<Proxies>,
    pub port: u16,
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Transport::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Bound {
    /// Accepts until `stop` becomes true. Each connection holds one of `places` while it lasts.
    pub(crate) async fn accept(
        self,
        shared: Arc<Shared>,
        places: Arc<Semaphore>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut accepted_at_once = 0;
        loop {
            if accepted_at_once >= AT_ONCE {
                accepted_at_once = 0;
                go_last().await;
            }
            accepted_at_once += 1;
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stopped| *stopped) => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    // To a listener on `[::]` clients of IPv4 come under addresses of IPv6.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    admit(&shared, &self.door, &places, socket, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "connections cannot be accepted; raise the limit of open files (ulimit -n)");
                    sleep(BREATHER).await;
                }
            }
        }
    }
}

fn admit(
    shared: &Arc<Shared>,
    door: &Arc<Door>,
    places: &Arc<Semaphore>,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        shared.refused.refuse(Because::Connections, peer);
        return;
    };
    if shared.handshakes.is_full() {
        shared.refused.refuse(Because::WaitingHandshakes, peer);
        return;
    }
    shared.figures.accepted.increment(1);
    // Fails only when the peer is gone already, which the handshake will see.
    let _ = socket.set_nodelay(true);
    let (shared, door) = (Arc::clone(shared), Arc::clone(door));
    tokio::spawn(async move {
        connection::serve(shared, door, socket, peer).await;
        drop(place);
    });
}

/// The error is that of the connection which would have been accepted, not ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_the_flag_that_asked_for_it() {
        let listener = |address| Listener {
            address,
            protocol: Protocol::Mqtts,
            proxies: None,
            name: "--mqtt, broker.listen".into(),
        };
        let first = listener(([127, 0, 0, 1], 0).into()).bind().unwrap();
        let Err(error) = listener(first.address).bind() else { panic!("bound twice") };
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let expected = format!("cannot listen on {} (--mqtt, broker.listen): ", first.address);
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

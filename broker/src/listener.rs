//! Accepting TCP connections, up to the limit.
use crate::connection::{self, Door, Shared};
use crate::record::{Details, Event, Subject};
use socket2::{Domain, Protocol, Socket, Type};
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
/// The pause after accept failed for want of something, as file descriptors.
const BREATHER: Duration = Duration::from_millis(50);

/// Binds a listening socket.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until `stop` becomes true. Each connection holds one of `places` while it lasts.
pub(crate) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    door: Door,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, source)) => admit(&shared, door, &places, socket, source),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted; raise the limit of open files (ulimit -n)");
                sleep(BREATHER).await;
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, door: Door, places: &Arc<Semaphore>, socket: TcpStream, source: SocketAddr) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        shared.figures.over_limit.increment(1);
        let details = Details {
            reason: Some("THROTTLED"),
            details: Some(
                &"the connection limit is reached; raise it or look for clients that connect too often",
            ),
            ..Details::default()
        };
        Subject::from(source).failed(Event::Connect, details);
        return;
    };
    shared.figures.accepted.increment(1);
    // Fails only when the peer is gone already, which the handshake will see.
    let _ = socket.set_nodelay(true);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        connection::serve(shared, door, socket, source).await;
        drop(place);
    });
}

/// The error is that of the connection which would have been accepted, not ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

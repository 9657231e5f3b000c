//! Starting and stopping the API.
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jitp_provisioner::Provisioner;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::AccessKeys;
use crate::service::{Service, Shared};

/// Connections at one time; further ones wait to be accepted.
const CONNECTIONS: usize = 1024;
/// For the headers of a request to arrive, and for a connection without a request to stay open.
const HEADER_DEADLINE: Duration = Duration::from_secs(60);
/// The largest request line and headers, in bytes.
const LARGEST_HEADER: usize = 64 * 1024;
/// Before accepting again after accepting failed (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the API behaves.
#[derive(Clone)]
pub struct Config {
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Who may call.
    pub keys: AccessKeys,
    /// What DescribeEndpoint answers: host, or `host:port` where the port is not 8883.
    pub endpoint: String,
    /// Renders `GET /metrics` (Prometheus text); `None`: 404.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

/// A running API. Dropped without [`Api::shutdown`], it stops accepting and ends by itself.
pub struct Api {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Api {
    /// Binds and serves until [`Api::shutdown`]. Fails when the address cannot be bound, or with
    /// [`io::ErrorKind::InvalidInput`] when an access key cannot work.
    pub async fn start(config: Config, provisioner: Provisioner) -> io::Result<Self> {
        config.keys.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let service = Service::new(Shared {
            provisioner,
            keys: config.keys,
            endpoint: config.endpoint,
            metrics: config.metrics,
            stopping: stopping.clone(),
        });
        let accepting = tokio::spawn(accept(listener, service, stopping));
        Ok(Self { address, stop, accepting })
    }
    /// The bound address, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
    /// Stops accepting, lets requests under way end, at most `deadline`; tails end at once.
    pub async fn shutdown(mut self, deadline: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(deadline, &mut self.accepting).await.is_err() {
            tracing::warn!("requests under way did not end in time and are cut off");
            self.accepting.abort();
        }
    }
}

/// Returns when the API stops.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which stops as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn accept(listener: TcpListener, service: Service, mut stopping: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Owned here, so that aborting this task ends every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stopping) => break,
            Some(_) = connections.join_next() => {}
            accepted = accept_one(&listener, &room) => match accepted {
                Ok((stream, permit)) => {
                    connections.spawn(serve(stream, permit, service.clone(), stopping.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the API could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept_one(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn serve(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    service: Service,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request.map(Body::new)).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .max_buf_size(LARGEST_HEADER)
            .serve_connection(TokioIo::new(stream), answer)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an API connection ended early");
    }
}

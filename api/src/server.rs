//! Starting and stopping the API.
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jitp_provisioner::Provisioner;
use jitp_provisioner::archive::Seed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::AccessKeys;
use crate::in_flight::InFlight;
use crate::limits::Limits;
use crate::rates::{Rates, Throttle};
use crate::service::{Service, Shared};
use crate::tls::Tls;

/// Before accepting again after accepting failed (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the API behaves.
#[derive(Clone)]
pub struct Config {
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    /// HTTPS with this certificate; `None`: HTTP.
    pub tls: Option<Tls>,
    /// Who may call beside those whose keys are stored in the registry.
    pub keys: AccessKeys,
    /// Bounds of requests and connections.
    pub limits: Limits,
    /// How often each operation is answered.
    pub rates: Rates,
    /// What DescribeEndpoint answers: host, or `host:port` where the port is not 8883.
    pub endpoint: String,
    /// Answers `POST /jitp/v1/reset` and returns the registry to this; `None`: 404.
    pub reset: Option<Arc<Seed>>,
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
    /// [`io::ErrorKind::InvalidInput`] when an access key or the certificate cannot work.
    pub async fn start(config: Config, provisioner: Provisioner) -> io::Result<Self> {
        config.keys.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let tls = config.tls.as_ref().map(Tls::acceptor).transpose()?;
        let limits = config.limits.sane();
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let service = Service::new(Shared {
            provisioner,
            keys: config.keys,
            limits,
            in_flight: InFlight::new(limits.in_flight_per_key),
            throttle: Throttle::new(config.rates),
            endpoint: config.endpoint,
            encrypted: tls.is_some(),
            reset: config.reset,
            metrics: config.metrics,
            stopping: stopping.clone(),
        });
        let door = Door { tls, limits, service, stopping };
        let accepting = tokio::spawn(accept(listener, door));
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

/// What every connection gets.
#[derive(Clone)]
struct Door {
    tls: Option<TlsAcceptor>,
    limits: Limits,
    service: Service,
    stopping: watch::Receiver<bool>,
}

async fn accept(listener: TcpListener, mut door: Door) {
    let room = Arc::new(Semaphore::new(door.limits.connections));
    // Owned here, so that aborting this task ends every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut door.stopping) => break,
            Some(_) = connections.join_next() => {}
            accepted = accept_one(&listener, &room) => match accepted {
                Ok((stream, source, permit)) => {
                    connections.spawn(welcome(stream, source, permit, door.clone()));
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
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, source) = listener.accept().await?;
    Ok((stream, source.ip(), permit))
}

async fn welcome(stream: TcpStream, source: IpAddr, _permit: OwnedSemaphorePermit, mut door: Door) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = door.tls.take() else { return serve(stream, source, door).await };
    let handshake = tokio::time::timeout(door.limits.handshake_deadline, acceptor.accept(stream));
    let mut stopping = door.stopping.clone();
    tokio::select! {
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => serve(stream, source, door).await,
            Ok(Err(error)) => tracing::debug!(%error, %source, "a TLS handshake with the API failed"),
            Err(_) => tracing::debug!(%source, "a TLS handshake with the API took too long"),
        },
        () = stopped(&mut stopping) => {}
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, source: IpAddr, door: Door) {
    let Door { tls: _, limits, service, mut stopping } = door;
    let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request.map(Body::new), source).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_deadline)
            .max_buf_size(limits.header_bytes)
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

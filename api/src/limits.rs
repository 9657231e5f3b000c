//! How much a caller may ask for.
use std::time::Duration;

/// Bounds of requests and connections. `Default` is the documented default of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time (default 1024); further ones wait to be accepted.
    pub connections: usize,
    /// Calls of one access key at one time (default 64); further ones are answered `ThrottlingException`.
    pub in_flight_per_key: usize,
    /// The largest body of a request, in bytes (default 1 MiB); a larger one is answered `InvalidRequestException`.
    pub body_bytes: usize,
    /// The largest request line and headers, in bytes (default 64 KiB, at least 8 KiB); larger ones are answered 431.
    pub header_bytes: usize,
    /// For the TLS handshake (default 10 s).
    pub handshake_deadline: Duration,
    /// For the headers of a request to arrive, and for a connection to stay open without a request (default 60 s).
    pub header_deadline: Duration,
    /// From the end of a request's headers to the end of its body (default 20 s); then 408.
    pub body_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            in_flight_per_key: 64,
            body_bytes: 1024 * 1024,
            header_bytes: 64 * 1024,
            handshake_deadline: Duration::from_secs(10),
            header_deadline: Duration::from_secs(60),
            body_deadline: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Less would make the server refuse to work at all (hyper's least buffer is 8 KiB).
    pub(crate) fn sane(self) -> Self {
        Self {
            connections: self.connections.clamp(1, tokio::sync::Semaphore::MAX_PERMITS),
            in_flight_per_key: self.in_flight_per_key.max(1),
            header_bytes: self.header_bytes.max(8 * 1024),
            ..self
        }
    }
}

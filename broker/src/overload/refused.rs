//! Connections that are closed before anything is done for them: counted by reason, and said at most once a second.
use crate::rates::{Bucket, Nanos, Rate};
use crate::record::{Details, Event, Subject};
use metrics::{Counter, counter, describe_counter};
use parking_lot::Mutex;
use std::net::SocketAddr;
use tokio::time::Instant;

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// There are as many connections as may be.
    Connections,
    /// Too many wait for their TLS handshake.
    WaitingHandshakes,
}

/// One for each reason.
pub(crate) struct RefusedConnections {
    connections: Reason,
    waiting_handshakes: Reason,
}

struct Reason {
    counter: Counter,
    details: &'static str,
    said: Mutex<Said>,
}

/// What was logged.
struct Said {
    since: Instant,
    bucket: Bucket,
    /// Refused and not logged.
    silently: u64,
}

const NAME: &str = "jitp_connections_refused_total";

impl RefusedConnections {
    /// Call after the recorder is installed.
    pub(crate) fn register() -> Self {
        describe_counter!(NAME, "TCP connections closed before the TLS handshake, by reason.");
        let reason = |reason: &'static str, details| Reason {
            counter: counter!(NAME, "reason" => reason),
            details,
            said: Mutex::new(Said { since: Instant::now(), bucket: Bucket::default(), silently: 0 }),
        };
        Self {
            connections: reason(
                "connections",
                "the connection limit is reached; raise it (broker.max_connections, and the limit of open files) or look for clients that connect too often",
            ),
            waiting_handshakes: reason(
                "waiting_handshakes",
                "more clients wait for their TLS handshake than can be served before they give up; they will try again",
            ),
        }
    }

    /// Counts one more, and logs it, unless the last one was logged within a second.
    pub(crate) fn refuse(&self, because: Because, source: SocketAddr) {
        let reason = match because {
            Because::Connections => &self.connections,
            Because::WaitingHandshakes => &self.waiting_handshakes,
        };
        reason.counter.increment(1);
        let Some(silently) = reason.said.lock().say() else { return };
        let details = match silently {
            0 => reason.details.to_owned(),
            more => format!("{}; {more} more since this was said last", reason.details),
        };
        let details = Details { reason: Some("THROTTLED"), details: Some(&details), ..Details::default() };
        Subject::from(source).failed(Event::Connect, details);
    }
}

impl Said {
    /// Whether to log, and how many were not logged since the last time.
    fn say(&mut self) -> Option<u64> {
        let now = Nanos::try_from(self.since.elapsed().as_nanos()).unwrap_or(Nanos::MAX);
        if Rate::new(1).is_some_and(|rate| !self.bucket.take(rate, 1, now)) {
            self.silently += 1;
            return None;
        }
        Some(std::mem::take(&mut self.silently))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_a_second_and_how_many_there_were_in_between() {
        let mut said = Said { since: Instant::now(), bucket: Bucket::default(), silently: 0 };
        assert_eq!([said.say(), said.say(), said.say()], [Some(0), None, None]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([said.say(), said.say()], [Some(2), None]);
    }
}

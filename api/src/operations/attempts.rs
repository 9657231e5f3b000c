//! The attempt log: who tried to connect or was provisioned, and what came of it (`spec/jitp.md` section 7).
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use jitp_provisioner::{Attempt, AttemptFilter, Outcome, Provisioner, ReasonCode, RegistryError, Timestamp};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::json;
use std::convert::Infallible;
use tokio::sync::watch;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::server::stopped;
use crate::text::Bounded;

/// Attempts in one reply when the caller does not say, and at most.
const DEFAULT_LIMIT: usize = 25;
/// Attempts that a tail reads and sends at a time.
const BATCH: usize = 100;
/// An empty line this often shows both sides that the other is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /jitp/v1/attempts`: newest first. Filters `outcome`, `reason`, `certificateId`, `caCertificateId`, `clientId`,
/// `since` (milliseconds since the Unix epoch, as in the reply); `limit` 1 to 1000; `before`, a sequence.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let filter = filter(call)?;
    let limit = call.query::<Limit>("limit").optional()?.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
    let before = call.query("before").optional()?;
    let mut attempts = call.provisioner().attempts(&filter, before, limit.saturating_add(1)).await?;
    let more = attempts.len() > limit;
    attempts.truncate(limit);
    let next = attempts.last().filter(|_| more).map(|attempt| attempt.sequence);
    let mut document = json!({"attempts": attempts});
    if let (Some(next), Some(members)) = (next, document.as_object_mut()) {
        members.insert("nextBefore".into(), next.into());
    }
    Reply::document(&document)
}

/// `GET /jitp/v1/attempts/tail`: JSON lines, oldest first, as they happen; after the sequence `after`, else from now on.
/// The same filters. An empty line is a heartbeat.
pub(super) async fn tail(call: &Call) -> Result<Reply, ApiError> {
    let filter = filter(call)?;
    let after = match call.query("after").optional()? {
        Some(after) => after,
        None => newest(call.provisioner()).await?,
    };
    let tail = Tail {
        provisioner: call.provisioner().clone(),
        stopping: call.shared().stopping.clone(),
        filter,
        after,
        greeted: false,
    };
    let lines = stream::unfold(tail, |mut tail| async move {
        let lines = tail.next_lines().await?;
        Some((Ok::<_, Infallible>(lines), tail))
    });
    Ok(Reply::Lines(Body::from_stream(lines)))
}

async fn newest(provisioner: &Provisioner) -> Result<u64, RegistryError> {
    let newest = provisioner.attempts(&AttemptFilter::default(), None, 1).await?;
    Ok(newest.first().map_or(0, |attempt| attempt.sequence))
}

/// A client that follows the attempt log.
struct Tail {
    provisioner: Provisioner,
    stopping: watch::Receiver<bool>,
    filter: AttemptFilter,
    /// Everything up to here has been sent or did not match.
    after: u64,
    /// Something has been sent, so that the client has seen the reply begin.
    greeted: bool,
}

impl Tail {
    /// The next lines to send; `None` ends the tail: the API stops, or the log cannot be read.
    async fn next_lines(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(b"\n"));
        }
        loop {
            // Read before the log is, so that nothing committed in between is slept through.
            let seen = self.provisioner.changes().latest();
            // Unfiltered, so that the cursor moves on over what does not match.
            let attempts =
                match self.provisioner.attempts_after(&AttemptFilter::default(), self.after, BATCH).await {
                    Ok(attempts) => attempts,
                    Err(error) => {
                        tracing::warn!(%error, "a tail of the attempt log ends");
                        return None;
                    }
                };
            let full = attempts.len() >= BATCH;
            self.after = attempts.last().map_or(self.after, |attempt| attempt.sequence);
            let lines = self.lines(&attempts);
            if !lines.is_empty() {
                return Some(lines.into());
            }
            if full {
                continue;
            }
            tokio::select! {
                () = stopped(&mut self.stopping) => return None,
                () = self.provisioner.changes().beyond(seen) => {}
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b"\n")),
            }
        }
    }

    fn lines(&self, attempts: &[Attempt]) -> Vec<u8> {
        let mut lines = Vec::new();
        for attempt in attempts.iter().filter(|attempt| self.filter.matches(attempt)) {
            if let Ok(line) = serde_json::to_vec(attempt) {
                lines.extend(line);
                lines.push(b'\n');
            }
        }
        lines
    }
}

fn filter(call: &Call) -> Result<AttemptFilter, ApiError> {
    let client_id: Option<Bounded<0, 65_535>> = call.query("clientId").optional()?;
    Ok(AttemptFilter {
        outcome: call.query::<Outcome>("outcome").optional()?,
        reason: call.query::<Reason>("reason").optional()?.map(|Reason(code)| code),
        certificate_id: call.query("certificateId").optional()?,
        ca_certificate_id: call.query("caCertificateId").optional()?,
        client_id: client_id.map(|client_id| client_id.0),
        since: call.query("since").optional()?.map(Timestamp),
    })
}

/// A reason code.
struct Reason(ReasonCode);
impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            let shown: String = text.chars().take(64).collect();
            let codes: Vec<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
            let codes = codes.join(", ");
            D::Error::custom(format_args!(
                "{shown:?} is no reason code; docs/reason-codes.md explains them all: {codes}"
            ))
        })
    }
}

/// 1 to 1000.
pub(super) struct Limit(pub usize);
impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            limit @ 1..=1000 => Ok(Self(limit as usize)),
            limit => Err(D::Error::custom(format_args!("expected 1 to 1000, got {limit}"))),
        }
    }
}

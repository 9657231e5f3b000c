//! The audit log: which calls changed something, or tried to.
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use jitp_provisioner::{AuditFilter, AuditLog, AuditRecord, Timestamp};
use serde_json::json;
use tokio::sync::watch;

use super::attempts::Limit;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::server::stopped;
use crate::text::Bounded;

/// Records in one reply when the caller does not say.
const DEFAULT_LIMIT: usize = 25;
/// Records that a tail reads and sends at a time.
const BATCH: usize = 100;
/// An empty line this often shows both sides that the other is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /jitp/v1/audit`: newest first. Filters `accessKeyId`, `operation`, `since` (milliseconds since the Unix epoch, as
/// in the reply); `limit` 1 to 1000; `before`, a sequence.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let filter = filter(call)?;
    let limit = call.query::<Limit>("limit").optional()?.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
    let before = call.query("before").optional()?;
    let mut records = call.provisioner().audit().list(&filter, before, limit.saturating_add(1)).await?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|record| record.sequence);
    let mut document = json!({"records": records});
    if let (Some(next), Some(members)) = (next, document.as_object_mut()) {
        members.insert("nextBefore".into(), next.into());
    }
    Reply::document(&document)
}

/// `GET /jitp/v1/audit/tail`: JSON lines, oldest first, as they happen; after the sequence `after`, else from now on. The
/// same filters. An empty line is a heartbeat.
pub(super) async fn tail(call: &Call) -> Result<Reply, ApiError> {
    let filter = filter(call)?;
    let log = call.provisioner().audit().clone();
    let after = call.query("after").optional()?.unwrap_or_else(|| log.newest());
    let tail = Tail { log, stopping: call.shared().stopping.clone(), filter, after, greeted: false };
    let lines = stream::unfold(tail, |mut tail| async move {
        let lines = tail.next_lines().await?;
        Some((Ok::<_, Infallible>(lines), tail))
    });
    Ok(Reply::Lines(Body::from_stream(lines)))
}

/// A client that follows the audit log.
struct Tail {
    log: AuditLog,
    stopping: watch::Receiver<bool>,
    filter: AuditFilter,
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
            let seen = self.log.newest();
            // Unfiltered, so that the cursor moves on over what does not match.
            let records = match self.log.list_after(&AuditFilter::default(), self.after, BATCH).await {
                Ok(records) => records,
                Err(error) => {
                    tracing::warn!(%error, "a tail of the audit log ends");
                    return None;
                }
            };
            self.after = records.last().map_or(self.after, |record| record.sequence);
            let lines = self.lines(&records);
            if !lines.is_empty() {
                return Some(lines.into());
            }
            if !records.is_empty() {
                continue;
            }
            tokio::select! {
                () = stopped(&mut self.stopping) => return None,
                () = self.log.beyond(seen) => {}
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b"\n")),
            }
        }
    }

    fn lines(&self, records: &[AuditRecord]) -> Vec<u8> {
        let mut lines = Vec::new();
        for record in records.iter().filter(|record| self.filter.matches(record)) {
            if let Ok(line) = serde_json::to_vec(record) {
                lines.extend(line);
                lines.push(b'\n');
            }
        }
        lines
    }
}

fn filter(call: &Call) -> Result<AuditFilter, ApiError> {
    let text = |name| -> Result<Option<String>, ApiError> {
        let text: Option<Bounded<1, 128>> = call.query(name).optional()?;
        Ok(text.map(|text| text.0))
    };
    Ok(AuditFilter {
        access_key_id: text("accessKeyId")?,
        operation: text("operation")?,
        since: call.query("since").optional()?.map(Timestamp),
    })
}

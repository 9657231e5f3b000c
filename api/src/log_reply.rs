//! A log of numbered records as a reply: a list, newest first, or a tail as JSON lines.
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use jitp_provisioner::{Numbered, NumberedLog};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::json;
use tokio::sync::watch;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::server::stopped;

/// Records in one reply when the caller does not say.
const DEFAULT_LIMIT: usize = 25;
/// Records that a tail reads and sends at a time.
const BATCH: usize = 100;
/// An empty line this often shows both sides that the other is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Newest first: `limit` 1 to 1000; `before`, a sequence. The reply has `nextBefore` if there are more.
pub(crate) async fn list<R: Numbered>(
    call: &Call,
    log: &NumberedLog<R>,
    filter: &R::Filter,
    member: &str,
) -> Result<Reply, ApiError> {
    let limit = call.query::<Limit>("limit").optional()?.map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
    let before = call.query("before").optional()?;
    let mut records = log.list(filter, before, limit.saturating_add(1)).await?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(Numbered::sequence);
    let mut document = json!({member: records});
    if let (Some(next), Some(members)) = (next, document.as_object_mut()) {
        members.insert("nextBefore".into(), next.into());
    }
    Reply::document(&document)
}

/// Oldest first, as they happen; after the sequence `after`, else from now on. An empty line is a heartbeat.
pub(crate) fn tail<R: Numbered>(
    call: &Call,
    log: &NumberedLog<R>,
    filter: R::Filter,
) -> Result<Reply, ApiError> {
    let log = log.clone();
    let after = call.query("after").optional()?.unwrap_or_else(|| log.newest());
    let tail = Tail { log, stopping: call.shared().stopping.clone(), filter, after, greeted: false };
    let lines = stream::unfold(tail, |mut tail| async move {
        let lines = tail.next_lines().await?;
        Some((Ok::<_, Infallible>(lines), tail))
    });
    Ok(Reply::Lines(Body::from_stream(lines)))
}

/// A client that follows a log.
struct Tail<R: Numbered> {
    log: NumberedLog<R>,
    stopping: watch::Receiver<bool>,
    filter: R::Filter,
    /// Everything up to here has been sent or did not match.
    after: u64,
    /// Something has been sent, so that the client has seen the reply begin.
    greeted: bool,
}

impl<R: Numbered> Tail<R> {
    /// The next lines to send; `None` ends the tail: the API stops, or the log cannot be read.
    async fn next_lines(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(b"\n"));
        }
        loop {
            // Read before the log is, so that nothing committed in between is slept through.
            let seen = self.log.newest();
            // Unfiltered, so that the cursor moves on over what does not match.
            let records = match self.log.list_after(&R::Filter::default(), self.after, BATCH).await {
                Ok(records) => records,
                Err(error) => {
                    tracing::warn!(%error, "a tail of a log ends");
                    return None;
                }
            };
            self.after = records.last().map_or(self.after, Numbered::sequence);
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

    fn lines(&self, records: &[R]) -> Vec<u8> {
        let mut lines = Vec::new();
        for record in records.iter().filter(|record| record.matches(&self.filter)) {
            if let Ok(line) = serde_json::to_vec(record) {
                lines.extend(line);
                lines.push(b'\n');
            }
        }
        lines
    }
}

/// 1 to 1000.
struct Limit(usize);
impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            limit @ 1..=1000 => Ok(Self(limit as usize)),
            limit => Err(D::Error::custom(format_args!("expected 1 to 1000, got {limit}"))),
        }
    }
}

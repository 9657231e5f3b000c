//! The last will of a session. That of a durable one is stored from CONNECT until it is published or withdrawn, in a row of its
//! own, which goes in the batch of the message that it becomes; unless as much is stored as may be.
use super::{Local, Will};
use crate::session::Session;
use crate::session::durable::{LateRecording, StoredWill};
use jitp_provisioner::sessions::SessionRow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// A will, and its number if it is stored, and counted.
#[derive(Debug)]
pub(crate) struct KeptWill {
    pub(super) will: Will,
    pub(super) number: Option<u64>,
}

impl KeptWill {
    /// Is it published when its connection ends?
    pub(crate) fn has_no_delay(&self) -> bool {
        self.will.delay.is_zero()
    }

    /// What it counts against the bound of what is stored.
    pub(super) fn charge(&self) -> u32 {
        u32::try_from(self.will.message.queued_bytes()).unwrap_or(u32::MAX)
    }

    /// Where it is stored.
    pub(super) fn row(&self, session: &Session) -> Option<SessionRow> {
        Some(SessionRow::Will { session: session.id.0.get(), number: self.number? })
    }
}

impl Local {
    /// A connection brings a will.
    pub(super) fn keep_will(&self, session: &Session, will: Will) -> Box<KeptWill> {
        let number = session.is_durable().then(|| self.wills_made.fetch_add(1, Ordering::Relaxed) + 1);
        Box::new(KeptWill { will, number })
    }

    /// Records a will that a connection has brought. One for which there is no room is not stored.
    pub(super) fn record_new_will(
        &self,
        session: &Session,
        kept: &mut KeptWill,
        recording: &mut LateRecording<'_>,
    ) {
        if kept.number.is_some()
            && let Some(recording) = recording.begin()
            && !recording.admit_will(kept.charge())
        {
            kept.number = None;
        }
        self.record_will(session, kept, None, recording);
    }

    /// Records a will that is counted. `due`: its connection has ended, and it is published then.
    pub(super) fn record_will(
        &self,
        session: &Session,
        kept: &KeptWill,
        due: Option<Instant>,
        recording: &mut LateRecording<'_>,
    ) {
        let (Some(row), Some(recorder)) = (kept.row(session), &self.recorder) else { return };
        let Will { message, message_expiry, delay, authority } = &kept.will;
        let stored = StoredWill {
            client_id: Arc::clone(&session.client_id),
            due: due.map(|due| recorder.wall().at(due)),
            delay: *delay,
            message_expiry: *message_expiry,
            authority: authority.as_ref().map(|authority| authority.stored()),
            message: message.clone(),
        };
        if let Some(recording) = recording.begin() {
            recording.put(row, stored.encode(recorder.wall()));
        }
    }

    /// A will is not published.
    pub(super) fn withdraw(&self, session: &Session, kept: &KeptWill, recording: &mut LateRecording<'_>) {
        if let Some(row) = kept.row(session)
            && let Some(recording) = recording.begin()
        {
            recording.forget_will(row, kept.charge());
        }
    }
}

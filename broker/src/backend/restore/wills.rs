//! Last wills that an earlier process has neither published nor withdrawn. Those of sessions that are there wait with them; the others
//! were due already, and are handed over when all is there that gets messages.
use crate::backend::{ClientHash, KeptWill, Local, ReviveAuthority, Will};
use crate::message::SessionId;
use crate::session::durable::{LateRecording, Recorder, StoredWill};
use crate::session::{Session, StoredQueue};
use jitp_provisioner::sessions::SessionRow;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Makes wills of what is stored of them.
pub(super) struct RestoredWills<'s> {
    recorder: &'s Recorder,
    revive: ReviveAuthority<'s>,
    /// The highest number of any.
    newest: u64,
    /// Those that are due, each with its session, which may be gone.
    pub(super) due: Vec<(Arc<Session>, Box<KeptWill>)>,
}

impl<'s> RestoredWills<'s> {
    pub(super) fn new(recorder: &'s Recorder, revive: ReviveAuthority<'s>) -> Self {
        Self { recorder, revive, newest: 0, due: Vec::new() }
    }

    /// There is one with this number.
    pub(super) fn found(&mut self, number: u64) {
        self.newest = self.newest.max(number);
    }

    /// The will; `None`: it is given up, as nobody knows whom to ask for it.
    pub(super) fn revive(
        &self,
        session: u64,
        number: u64,
        stored: StoredWill,
        recording: &mut LateRecording<'_>,
    ) -> Option<Box<KeptWill>> {
        let StoredWill { client_id, delay, message_expiry, authority, message, due: _ } = stored;
        let authority = match authority {
            None => None,
            Some(stored) => {
                let authority = (self.revive)(&client_id, &message, &stored);
                if authority.is_none() {
                    tracing::error!(%client_id, "a last will is not published: what is stored of it cannot be read");
                    recording.begin()?.delete(SessionRow::Will { session, number });
                    return None;
                }
                authority
            }
        };
        let will = Will { message, message_expiry, delay, authority };
        let kept = Box::new(KeptWill { will, number: Some(number) });
        recording.begin()?.count_will(kept.charge());
        Some(kept)
    }

    /// This one is due, as its session has ended, or another connection has set another one.
    pub(super) fn is_due(&mut self, session: u64, number: u64, stored: StoredWill) {
        let client_id = Arc::clone(&stored.client_id);
        let kept = self.revive(session, number, stored, &mut LateRecording::new(Some(self.recorder)));
        if let (Some(id), Some(kept)) = (NonZeroU64::new(session), kept) {
            let session =
                Session::restored(SessionId(id), client_id, ClientHash::default(), StoredQueue::default(), 0);
            self.due.push((session, kept));
        }
    }

    /// All are known.
    pub(super) fn hand_over(self, local: &Local) {
        // The clock may have been set back.
        local.wills_made.fetch_max(self.newest, Ordering::Relaxed);
        for (session, kept) in self.due {
            local.late_wills.ask(&session, kept);
        }
    }
}

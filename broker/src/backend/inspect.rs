//! Looks at what a backend holds, for checks that it is bounded.
use super::Backend;
use crate::session::{Kept, Session};
use jitp_provisioner::RegistryError;
use jitp_provisioner::sessions::{SessionRows, SessionStore};

/// All kinds of rows that can be counted.
const KINDS: [SessionRows; 7] = [
    SessionRows::Sessions,
    SessionRows::Subscriptions(None),
    SessionRows::InFlight(None),
    SessionRows::Received(None),
    SessionRows::Queued(None),
    SessionRows::Wills,
    SessionRows::Retained,
];

/// How many rows there are of each kind: sessions, subscriptions, in flight, received, queued, wills, retained.
pub(crate) async fn count_rows(store: &SessionStore) -> Result<[usize; KINDS.len()], RegistryError> {
    let mut counts = [0; KINDS.len()];
    for (count, rows) in counts.iter_mut().zip(KINDS) {
        *count = store.scan(rows, None, usize::MAX).await?.len();
    }
    Ok(counts)
}

/// How much one session holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holding {
    /// Messages that wait, and their bytes.
    pub(crate) queued: (usize, usize),
    /// What only a session without a connection shows.
    pub(crate) kept: Option<HoldingKept>,
}

/// What the holder of a session keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct HoldingKept {
    pub(crate) subscriptions: usize,
    pub(crate) in_flight: usize,
    pub(crate) exactly_once: usize,
    pub(crate) scans: usize,
}

impl Backend {
    /// Every session.
    pub(crate) fn holdings(&self) -> Vec<Holding> {
        let mut holdings = Vec::new();
        self.local.directory.for_each(|slot| {
            let kept = slot.parked.as_ref().map(|parked| HoldingKept::of(&parked.kept));
            holdings.push(Holding { queued: Session::queued(&slot.session), kept });
        });
        holdings
    }

    /// Messages that are stored for sessions, and their bytes.
    pub(crate) fn stored_for_sessions(&self) -> (u64, u64) {
        let counts = self.local.recorder.as_ref().map(|recorder| recorder.counts());
        counts.map_or((0, 0), |(messages, bytes, _)| (messages, bytes))
    }

    /// Timers that are set.
    pub(crate) fn timers(&self) -> usize {
        self.local.timers.len()
    }
}

impl HoldingKept {
    fn of(kept: &Kept) -> Self {
        Self {
            subscriptions: kept.subscriptions.len(),
            in_flight: kept.in_flight.len(),
            exactly_once: kept.exactly_once.len(),
            scans: kept.scans.len(),
        }
    }
}

//! Does an operation in one commit; does it anew when others have changed what it read.
use crate::error::RegistryError;
use crate::store::StoreError;
use crate::tx::Tx;
use std::time::Duration;

/// `transact!(registry, |tx| operation(tx, …))`: runs the async operation on a new unit of work and commits it; on a
/// conflict does it again on what is there then, up to [`Tries::MOST`] times. The value is the operation's `Result`.
///
/// A macro, because a function that takes an async closure over `&mut Tx` gives a future that cannot be shown to be
/// `Send`.
macro_rules! transact {
    ($registry:expr, |$tx:ident| $operation:expr) => {{
        let mut tries = $crate::transact::Tries::default();
        loop {
            let mut unit = $registry.begin();
            let $tx = &mut unit;
            let done = $operation.await;
            if let Some(answer) = tries.settle(unit, done).await {
                break answer;
            }
        }
    }};
}
pub(crate) use transact;

/// How often an operation has been tried.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    conflicts: u32,
}

impl Tries {
    /// Tries of an operation before it gives up.
    pub(crate) const MOST: u32 = 20;
    /// Tries of an operation that has read what does not fit together.
    const MOST_INCONSISTENT: u32 = 4;

    /// Commits what was done. `None`: try again, after the pause that this has made.
    pub(crate) async fn settle<T>(
        &mut self,
        tx: Tx,
        done: Result<T, RegistryError>,
    ) -> Option<Result<T, RegistryError>> {
        self.conflicts += 1;
        match done {
            Ok(done) => match tx.commit().await {
                Ok(_) => return Some(Ok(done)),
                Err(StoreError::Conflict) if self.conflicts < Self::MOST => {}
                Err(error) => return Some(Err(error.into())),
            },
            // Two reads are not one snapshot: what does not fit together may have been seen between two commits.
            Err(RegistryError::Internal(_)) if self.conflicts < Self::MOST_INCONSISTENT => {}
            Err(error) => return Some(Err(error)),
        }
        tokio::time::sleep(back_off(self.conflicts)).await;
        None
    }
}

/// The pause after a try that others were in the way of: up to 2 ms after the first, up to 50 ms later; random, so that
/// rivals part.
pub(crate) fn back_off(tries: u32) -> Duration {
    let most = (1_000_u64 << tries.min(6)).min(50_000);
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), tries);
    Duration::from_micros(random % most)
}

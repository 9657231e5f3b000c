//! What ends by itself: certificates that wait for RegisterThing, and provisioning claims. An index by time makes the cost of
//! collecting that of what is collected, whatever else there is, and lets it go on after a restart.
use super::claim;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::fleet;
use crate::names::CertificateId;
use crate::provisioner::Provisioner;
use crate::records::{CertificateRecord, CertificateStatus};
use crate::registry::{Registry, certificates};
use crate::renewal;
use crate::store::{Direction, Key, KeyRange, Table};
use crate::transact::transact;
use crate::tx::Tx;
use std::ops::Bound;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often what has ended is collected.
const EVERY: Duration = Duration::from_secs(15);
/// Most that one commit collects.
const BATCH: usize = 128;

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiring {
    /// A certificate, if it is still pending and has neither a thing nor a policy.
    Pending,
    /// A provisioning claim.
    Claim,
    /// The grace period of a certificate that has been renewed: it is retired.
    Renewed,
}

/// Enters what ends at a time.
pub(crate) fn enter(tx: &mut Tx, at: Timestamp, id: CertificateId, what: Expiring) {
    tx.put_row(Table::Expiring, key(at, id), what.as_bytes().to_vec());
}

/// A time that is added to a [`Timestamp`].
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Collects what has ended, in the background.
pub(crate) struct Collector {
    task: JoinHandle<()>,
}

impl Collector {
    pub(crate) fn start(registry: Registry) -> Self {
        let task = async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(error) = collect(&registry).await {
                    tracing::warn!(%error, "certificates whose time is over could not be deleted; trying again");
                }
            }
        };
        Self { task: tokio::spawn(task) }
    }
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Provisioner {
    /// Deletes pending certificates whose token has ended and that have neither a thing nor a policy, and provisioning claims
    /// whose connections have been closed. Happens by itself every 15 seconds. Says how many there were.
    pub async fn collect_expired(&self) -> Result<usize, RegistryError> {
        collect(self.registry()).await
    }
}

async fn collect(registry: &Registry) -> Result<usize, RegistryError> {
    let mut deleted = 0;
    loop {
        // Everything that ended before now, the very millisecond included.
        let end = Bound::Excluded(registry.clock().now().0.saturating_add(1).to_be_bytes().to_vec());
        let range = KeyRange { start: Bound::Unbounded, end };
        let rows = registry.store().scan(Table::Expiring, &range, BATCH, Direction::Ascending).await?;
        let keys: Vec<Key> = rows.into_iter().map(|(key, _)| key).collect();
        deleted += transact!(registry, |tx| end_all(tx, &keys))?;
        if keys.len() < BATCH {
            return Ok(deleted);
        }
    }
}

async fn end_all(tx: &mut Tx, keys: &[Key]) -> Result<usize, RegistryError> {
    let mut deleted = 0;
    for key in keys {
        let Some(what) = tx.row(Table::Expiring, key).await? else { continue };
        let what = Expiring::from_bytes(what);
        let id = key.get(8..).and_then(|id| <[u8; 32]>::try_from(id).ok()).map(CertificateId::from_bytes);
        match (id, what) {
            (Some(id), Some(Expiring::Claim)) => {
                claim::delete(tx, id).await?;
                deleted += 1;
            }
            (Some(id), Some(Expiring::Renewed)) => {
                renewal::retire(tx, id).await?;
                deleted += 1;
            }
            (Some(id), Some(Expiring::Pending)) => {
                deleted += usize::from(end_pending(tx, id).await?);
                fleet::forget(tx, key);
            }
            (None, _) | (_, None) => {
                let key = key.escape_ascii().to_string();
                tracing::error!(key, "an entry of the registry's table of what ends is damaged, and dropped");
            }
        }
        tx.delete_row(Table::Expiring, key.clone());
    }
    Ok(deleted)
}

/// Deletes a certificate unless somebody has decided about it.
async fn end_pending(tx: &mut Tx, id: CertificateId) -> Result<bool, RegistryError> {
    let record: Option<CertificateRecord> = tx.get(&id).await?;
    if record.is_none_or(|record| record.status != CertificateStatus::PendingActivation) {
        return Ok(false);
    }
    match certificates::delete(tx, id, false).await {
        Ok(()) => Ok(true),
        // It has a thing or a policy; nothing was written.
        Err(RegistryError::DeleteConflict(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Expiring {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Pending => b"pending",
            Self::Claim => b"claim",
            Self::Renewed => b"renewed",
        }
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        [Self::Pending, Self::Claim, Self::Renewed].into_iter().find(|what| what.as_bytes() == bytes)
    }
}

fn key(at: Timestamp, id: CertificateId) -> Key {
    [&at.0.to_be_bytes()[..], id.as_bytes()].concat()
}

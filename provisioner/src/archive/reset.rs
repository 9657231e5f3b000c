//! Returning a running registry to where it began: empty, or as an archive has it.
//!
//! What commits have written since the registry was last the seed is remembered ([`Touched`]), so that a reset looks at that and
//! at nothing else. How the registry differs from a seed at first is found out once, while commits go on.
use super::reader::{ArchiveError, Reader};
use super::tables;
use crate::change::Change;
use crate::error::RegistryError;
use crate::registry::{Registry, pending};
use crate::store::{Direction, Key, KeyRange, Store, StoreError, Table, Touched};
use crate::tx::Tx;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Rows read at a time.
const CHUNK: usize = 1000;
/// What goes with a reset though no archive has it.
const BESIDE: [Table; 6] = [
    Table::AccessKeys,
    Table::Attempts,
    Table::RegistrationTasks,
    Table::RunningRegistrationTasks,
    Table::RegistrationProgress,
    Table::RegistrationLines,
];
/// What a registry of its account and region always has.
const IDENTITY: (Table, &[u8]) = (Table::Settings, b"identity");

type Place = (Table, Key);

/// What a registry is returned to. Held in memory, so that returning takes no longer than writing.
#[derive(Default)]
pub struct Seed {
    rows: BTreeMap<Table, BTreeMap<Key, Vec<u8>>>,
    /// All rows in which a registry may differ from this one, as long as it tells; `None`: any may.
    astray: Mutex<Option<Arc<Touched>>>,
}

impl Seed {
    /// Reads and verifies an archive, which must be of this account and region.
    pub fn read(path: &Path, account: &str, region: &str) -> Result<Self, ArchiveError> {
        let mut reader = Reader::open(path)?;
        reader.check_owner(account, region)?;
        let mut rows = BTreeMap::<Table, BTreeMap<Key, Vec<u8>>>::new();
        while let Some(row) = reader.next()? {
            rows.entry(row.table).or_default().insert(row.key, row.value);
        }
        Ok(Self { rows, astray: Mutex::default() })
    }

    fn get(&self, table: Table, key: &[u8]) -> Option<&Vec<u8>> {
        self.rows.get(&table)?.get(key)
    }
    /// Gives a row the seed's value.
    fn restore(&self, tx: &mut Tx, (table, key): Place) {
        match self.get(table, &key) {
            Some(value) => tx.put_row(table, key, value.clone()),
            None => tx.delete_row(table, key),
        }
    }
}

impl Registry {
    /// Makes the registry what the seed is, in one commit, whatever is under way: access keys, attempts, sessions and retained
    /// messages go too, the audit log stays. Everybody who follows the change log sees [`Change::Reset`].
    ///
    /// Takes time and memory with what was written since the last reset to this seed, or since [`Self::prepare_reset`], and with
    /// what is stored of sessions; without either of them, or after more than some 500,000 rows, it compares everything. It is
    /// meant for tests.
    pub async fn reset(&self, seed: &Seed) -> Result<(), RegistryError> {
        let mut astray = seed.astray.lock().await;
        // Until the reset has succeeded.
        let known = astray.take().filter(|touched| self.gate().is_followed_by(touched));
        let follower = Arc::new(Touched::of(compared()));
        let mut tx = self.begin();
        let mut entry = None;
        let entered = &mut entry;
        let replaced = self.gate().replace(Arc::clone(&follower), |engine| async move {
            match known.and_then(|touched| touched.places()) {
                Some(places) => {
                    for place in places {
                        let row = engine.get(place.0, &place.1).await?;
                        if row.as_ref().map(|row| &row.value) != seed.get(place.0, &place.1) {
                            seed.restore(&mut tx, place);
                        }
                    }
                }
                None => compare(Arc::clone(&engine), seed, |place| seed.restore(&mut tx, place)).await?,
            }
            delete_sessions(&engine, &mut tx).await?;
            tx.record(Change::Reset);
            let batch;
            (batch, *entered) = tx.into_batch()?;
            Ok::<_, StoreError>(batch)
        });
        replaced.await?;
        if let Some(entry) = entry {
            entry.committed();
        }
        *astray = Some(follower);
        drop(astray);
        // A seed of an older program lacks it.
        pending::index(self).await
    }

    /// Finds out how the registry differs from a seed, while commits go on, so that the first reset to it is as fast as later
    /// ones. A reset that comes meanwhile waits for it.
    pub async fn prepare_reset(&self, seed: &Seed) -> Result<(), RegistryError> {
        let mut astray = seed.astray.lock().await;
        let follower = Arc::new(Touched::of(compared()));
        self.gate().follow(Arc::clone(&follower)).await?;
        compare(Arc::clone(self.gate()) as Arc<dyn Store>, seed, |place| follower.add(place)).await?;
        *astray = Some(follower);
        Ok(())
    }
}

/// The tables that a reset compares. Those of sessions it empties.
fn compared() -> Vec<Table> {
    tables().into_iter().chain(BESIDE).collect()
}

async fn delete_sessions(store: &Arc<dyn Store>, tx: &mut Tx) -> Result<(), StoreError> {
    for table in Table::OF_SESSIONS {
        let mut range = KeyRange::prefix(&[]);
        loop {
            let rows = store.scan(table, &range, CHUNK, Direction::Ascending).await?;
            let Some((last, _)) = rows.last() else { break };
            range = range.beyond(last.clone(), Direction::Ascending);
            rows.into_iter().for_each(|(key, _)| tx.delete_row(table, key));
        }
    }
    Ok(())
}

/// Tells of every row that is not as the seed has it.
async fn compare(
    store: Arc<dyn Store>,
    seed: &Seed,
    mut differs: impl FnMut(Place) + Send,
) -> Result<(), StoreError> {
    let identity = (IDENTITY.0, IDENTITY.1.to_vec());
    let nothing = BTreeMap::new();
    for table in compared() {
        let mut wanted = seed.rows.get(&table).unwrap_or(&nothing).iter().peekable();
        let mut range = KeyRange::prefix(&[]);
        loop {
            let rows = store.scan(table, &range, CHUNK, Direction::Ascending).await?;
            let ends = rows.len() < CHUNK;
            if let Some((last, _)) = rows.last() {
                range = range.beyond(last.clone(), Direction::Ascending);
            }
            for (key, row) in rows {
                while let Some((missing, _)) = wanted.next_if(|(wanted, _)| **wanted < key) {
                    differs((table, missing.clone()));
                }
                let same =
                    wanted.next_if(|(wanted, _)| **wanted == key).map(|(_, value)| *value == row.value);
                let place = (table, key);
                if same != Some(true) && place != identity {
                    differs(place);
                }
            }
            if ends {
                break;
            }
        }
        for (missing, _) in wanted {
            differs((table, missing.clone()));
        }
    }
    Ok(())
}

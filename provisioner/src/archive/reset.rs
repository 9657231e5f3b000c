//! Returning a running registry to where it began: empty, or as an archive has it.
use super::reader::{ArchiveError, Reader};
use super::tables;
use crate::change::Change;
use crate::change::logged::encode_changes;
use crate::error::RegistryError;
use crate::registry::{Registry, pending};
use crate::store::{Batch, Direction, Key, KeyRange, Store, StoreError, Table, Write, unconditional};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

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

/// What a registry is returned to. Held in memory, so that returning takes no longer than writing.
#[derive(Default)]
pub struct Seed {
    rows: BTreeMap<(Table, Key), Vec<u8>>,
}

impl Seed {
    /// Reads and verifies an archive, which must be of this account and region.
    pub fn read(path: &Path, account: &str, region: &str) -> Result<Self, ArchiveError> {
        let mut reader = Reader::open(path)?;
        reader.check_owner(account, region)?;
        let mut rows = BTreeMap::new();
        while let Some(row) = reader.next()? {
            rows.insert((row.table, row.key), row.value);
        }
        Ok(Self { rows })
    }
}

impl Registry {
    /// Makes the registry what the seed is, in one commit, whatever is under way: access keys, attempts, sessions and retained
    /// messages go too, the audit log stays. Everybody who follows the change log sees [`Change::Reset`].
    ///
    /// Takes time and memory with what differs from the seed: it is meant for tests.
    pub async fn reset(&self, seed: &Seed) -> Result<(), RegistryError> {
        let at = self.clock().now();
        self.gate()
            .replace(|engine| async move {
                let writes = differences(engine, seed).await?;
                Ok::<Batch, StoreError>(unconditional(writes, encode_changes(at, &[Change::Reset])?))
            })
            .await?;
        // A seed of an older program lacks it.
        pending::index(self).await
    }
}

async fn differences(engine: Arc<dyn Store>, seed: &Seed) -> Result<Vec<Write>, StoreError> {
    let mut writes = Vec::new();
    let identity = (IDENTITY.0, IDENTITY.1.to_vec());
    let mut wanted: BTreeMap<&(Table, Key), &Vec<u8>> = seed.rows.iter().collect();
    wanted.remove(&identity);
    for table in tables().into_iter().chain(BESIDE).chain(Table::OF_SESSIONS) {
        let mut range = KeyRange::prefix(&[]);
        loop {
            let rows = engine.scan(table, &range, CHUNK, Direction::Ascending).await?;
            let Some((last, _)) = rows.last() else { break };
            let ends = rows.len() < CHUNK;
            range = range.beyond(last.clone(), Direction::Ascending);
            for (key, row) in rows {
                let place = (table, key);
                if place == identity {
                    continue;
                }
                match wanted.remove(&place) {
                    Some(value) if *value == row.value => {}
                    wanted => writes.push(Write { table, key: place.1, value: wanted.cloned() }),
                }
            }
            if ends {
                break;
            }
        }
    }
    let missing = wanted.into_iter().map(|((table, key), value)| Write {
        table: *table,
        key: key.clone(),
        value: Some(value.clone()),
    });
    writes.extend(missing);
    Ok(writes)
}

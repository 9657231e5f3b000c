//! Which registry events are published (`spec/control-plane.md` section 9).
use super::{Registry, Result};
use crate::change::Change;
use crate::error::RegistryError;
use crate::records::EventConfigurations;
use crate::store::Table;
use crate::stored::{decode, encode};
use crate::transact::transact;
use crate::tx::Tx;
use std::collections::BTreeMap;

const KEY: &[u8] = b"event-configurations";

/// The switches; all off before the first update.
pub(crate) async fn configurations(tx: &mut Tx) -> Result<EventConfigurations> {
    match tx.row(Table::Settings, KEY).await? {
        Some(bytes) => Ok(decode(Table::Settings, KEY, bytes)?),
        None => Ok(EventConfigurations::default()),
    }
}

/// Turns the given switches; the others stay.
pub(crate) async fn update(tx: &mut Tx, switches: &BTreeMap<String, bool>) -> Result<()> {
    if let Some(unknown) = switches.keys().find(|k| !EventConfigurations::KEYS.contains(&k.as_str())) {
        return Err(RegistryError::InvalidRequest(format!(
            "{unknown:?} is not a kind of event: use {}",
            EventConfigurations::KEYS.join(", ")
        )));
    }
    let before = configurations(tx).await?;
    let mut after = before.clone();
    after.enabled.extend(switches.iter().map(|(key, on)| (key.clone(), *on)));
    if after == before {
        return Ok(());
    }
    after.modified_at = tx.now();
    if before.modified_at.0 == 0 {
        after.created_at = tx.now();
    }
    tx.put_row(Table::Settings, KEY.to_vec(), encode(&after)?);
    tx.record(Change::EventConfigurations);
    Ok(())
}

impl Registry {
    /// DescribeEventConfigurations.
    pub async fn event_configurations(&self) -> Result<EventConfigurations> {
        configurations(&mut self.begin()).await
    }
    /// UpdateEventConfigurations. Partial update; an unknown key is refused.
    pub async fn update_event_configurations(&self, changes: &BTreeMap<String, bool>) -> Result<()> {
        transact!(self, |tx| update(tx, changes))
    }
}

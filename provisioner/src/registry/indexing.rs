//! What of things can be searched (`spec/control-plane.md` section 9).
use super::{Registry, Result};
use crate::error::RegistryError;
use crate::records::IndexingConfiguration;
use crate::store::Table;
use crate::stored::{decode, encode};
use crate::transact::transact;
use crate::tx::Tx;

const KEY: &[u8] = b"indexing-configuration";

/// The configuration; everything is off before the first update.
pub(super) async fn configuration(tx: &mut Tx) -> Result<IndexingConfiguration> {
    match tx.row(Table::Settings, KEY).await? {
        Some(bytes) => Ok(decode(Table::Settings, KEY, bytes)?),
        None => Ok(IndexingConfiguration::default()),
    }
}

/// The configuration, where things are indexed.
pub(super) async fn require_things(tx: &mut Tx) -> Result<IndexingConfiguration> {
    let configuration = configuration(tx).await?;
    if configuration.registry {
        return Ok(configuration);
    }
    Err(RegistryError::NotFound {
        kind: "index",
        name: "AWS_Things (thingIndexingMode is OFF: set it to REGISTRY)".into(),
    })
}

async fn update(tx: &mut Tx, new: &IndexingConfiguration) -> Result<()> {
    if !new.registry && !tx.is_empty(Table::DynamicGroups, b"").await? {
        return Err(RegistryError::InvalidRequest(
            "there are dynamic thing groups, which need thingIndexingMode REGISTRY: delete them before switching it off"
                .into(),
        ));
    }
    tx.put_row(Table::Settings, KEY.to_vec(), encode(new)?);
    Ok(())
}

impl Registry {
    /// GetIndexingConfiguration.
    pub async fn indexing_configuration(&self) -> Result<IndexingConfiguration> {
        configuration(&mut self.begin()).await
    }
    /// UpdateIndexingConfiguration.
    pub async fn update_indexing_configuration(&self, new: IndexingConfiguration) -> Result<()> {
        transact!(self, |tx| update(tx, &new))
    }
}

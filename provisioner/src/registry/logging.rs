//! Logging options (`spec/control-plane.md` section 9): kept and given back for tools that set them; what jitp logs is
//! said by its configuration.
use super::{Registry, Result};
use crate::records::LoggingOptions;
use crate::store::Table;
use crate::stored::{decode, encode};
use crate::transact::transact;
use crate::tx::Tx;

const KEY: &[u8] = b"logging-options";

async fn current(tx: &mut Tx) -> Result<Option<LoggingOptions>> {
    match tx.row(Table::Settings, KEY).await? {
        Some(bytes) => Ok(Some(decode(Table::Settings, KEY, bytes)?)),
        None => Ok(None),
    }
}

async fn update(tx: &mut Tx, new: &LoggingOptions) -> Result<()> {
    let before = current(tx).await?.unwrap_or_default();
    let after = LoggingOptions {
        role_arn: new.role_arn.clone().or(before.role_arn),
        default_log_level: new.default_log_level.or(before.default_log_level),
        disable_all_logs: new.disable_all_logs.or(before.disable_all_logs),
        event_configurations: new.event_configurations.clone().or(before.event_configurations),
    };
    tx.put_row(Table::Settings, KEY.to_vec(), encode(&after)?);
    Ok(())
}

impl Registry {
    /// GetV2LoggingOptions; `None` before they have been set.
    pub async fn logging_options(&self) -> Result<Option<LoggingOptions>> {
        current(&mut self.begin()).await
    }
    /// SetV2LoggingOptions. Absent members stay as they are.
    pub async fn set_logging_options(&self, new: LoggingOptions) -> Result<()> {
        transact!(self, |tx| update(tx, &new))
    }
}

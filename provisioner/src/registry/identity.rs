//! Account and region: fixed at the first start, because every ARN that devices and tools hold contains them.
use crate::error::RegistryError;
use crate::store::Table;
use crate::stored::{decode, encode};
use crate::tx::Tx;

const KEY: &[u8] = b"identity";

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    account: String,
    region: String,
}

/// Stores account and region at the first start; later they must be the same.
pub(super) async fn claim(tx: &mut Tx) -> Result<(), RegistryError> {
    let (account, region) = (tx.options().account.clone(), tx.options().region.clone());
    let Some(bytes) = tx.row(Table::Settings, KEY).await? else {
        check_shape(&account, &region)?;
        tx.put_row(Table::Settings, KEY.to_vec(), encode(&Identity { account, region })?);
        return Ok(());
    };
    let stored: Identity = decode(Table::Settings, KEY, bytes)?;
    if stored.account == account && stored.region == region {
        return Ok(());
    }
    Err(RegistryError::InvalidRequest(format!(
        "this registry belongs to account {} in region {}, not to account {account} in region {region}: its ARNs \
         contain them, so they cannot be changed; configure the same values, or use another data directory",
        stored.account, stored.region
    )))
}

fn check_shape(account: &str, region: &str) -> Result<(), RegistryError> {
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RegistryError::InvalidRequest(format!("the account {account:?} must be 12 digits")));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if region.is_empty() || region.len() > 64 || !region.bytes().all(legal) {
        return Err(RegistryError::InvalidRequest(format!(
            "the region {region:?} must be 1 to 64 characters of a-z A-Z 0-9 -"
        )));
    }
    Ok(())
}

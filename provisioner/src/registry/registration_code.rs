//! The registration code: proves that a verification certificate was made for this registry (`spec/jitp.md` section 2).
use super::{Registry, Result};
use crate::error::RegistryError;
use crate::store::Table;
use crate::stored::{decode, encode};
use crate::transact::transact;
use crate::tx::Tx;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

const KEY: &[u8] = b"registration-code";

/// The code, if one has been asked for since the last deletion.
pub(crate) async fn current(tx: &mut Tx) -> Result<Option<String>> {
    match tx.row(Table::Settings, KEY).await? {
        Some(bytes) => Ok(Some(decode(Table::Settings, KEY, bytes)?)),
        None => Ok(None),
    }
}

/// The code; made when there is none.
pub(crate) async fn get_or_create(tx: &mut Tx) -> Result<String> {
    if let Some(code) = current(tx).await? {
        return Ok(code);
    }
    let mut random = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| RegistryError::Internal("the operating system gave no random numbers".into()))?;
    let code = hex::encode(random);
    tx.put_row(Table::Settings, KEY.to_vec(), encode(&code)?);
    Ok(code)
}

/// Forgets the code: verification certificates made for it prove nothing any more.
pub(crate) async fn delete(tx: &mut Tx) -> Result<()> {
    if current(tx).await?.is_none() {
        return Err(RegistryError::NotFound { kind: "registration code", name: "current".into() });
    }
    tx.delete_row(Table::Settings, KEY.to_vec());
    Ok(())
}

impl Registry {
    /// GetRegistrationCode: 64 hexadecimal digits, the same until deleted.
    pub async fn registration_code(&self) -> Result<String> {
        transact!(self, |tx| get_or_create(tx))
    }
    /// DeleteRegistrationCode.
    pub async fn delete_registration_code(&self) -> Result<()> {
        transact!(self, |tx| delete(tx))
    }
}

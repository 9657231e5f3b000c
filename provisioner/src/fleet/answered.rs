//! What RegisterThing has answered, kept until the ownership token expires: a device that did not hear it asks again and
//! gets the same (`spec/fleet-provisioning.md` section 4).
use super::RegisteredDevice;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::issuing::Ownership;
use crate::names::{CertificateId, TemplateName, ThingName};
use crate::store::{Key, Table};
use crate::stored::{decode, encode};
use crate::tx::Tx;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An answer and the template that made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Answered {
    pub(super) template: TemplateName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thing_name: Option<ThingName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    device_configuration: BTreeMap<String, serde_json::Value>,
}

impl Answered {
    pub(super) fn new(template: TemplateName, device: RegisteredDevice) -> Self {
        let RegisteredDevice { thing_name, device_configuration } = device;
        Self { template, thing_name, device_configuration }
    }
    pub(super) fn into_device(self) -> RegisteredDevice {
        RegisteredDevice { thing_name: self.thing_name, device_configuration: self.device_configuration }
    }
}

/// The answer to a token, if there has been one.
pub(super) async fn find(tx: &mut Tx, ownership: Ownership) -> Result<Option<Answered>, RegistryError> {
    let key = key(ownership.expires_at, ownership.certificate_id);
    let row = tx.row(Table::FleetAnswers, &key).await?;
    Ok(row.map(|bytes| decode(Table::FleetAnswers, &key, bytes)).transpose()?)
}

/// Keeps the answer with what else the unit of work does.
pub(super) fn keep(tx: &mut Tx, ownership: Ownership, answered: &Answered) -> Result<(), RegistryError> {
    tx.put_row(Table::FleetAnswers, key(ownership.expires_at, ownership.certificate_id), encode(answered)?);
    Ok(())
}

/// Forgets the answer to a token that has expired; its key is that of its entry in the registry's table of what ends.
pub(crate) fn forget(tx: &mut Tx, key: &[u8]) {
    tx.delete_row(Table::FleetAnswers, key.to_vec());
}

fn key(expires_at: Timestamp, certificate: CertificateId) -> Key {
    [&expires_at.millis().to_be_bytes()[..], certificate.as_bytes()].concat()
}

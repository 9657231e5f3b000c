//! The thing of a connection (`spec/policies.md` section 6).
use crate::error::RegistryError;
use crate::names::{CertificateId, ThingName};
use crate::records::ThingRecord;
use crate::registry::principals;
use crate::tx::Tx;

/// What is known of a connection's thing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ConnectionThing {
    /// The name that decides, whether or not such a thing exists: the exclusive thing's, else the client id's.
    pub(crate) name: Option<ThingName>,
    pub(crate) record: Option<ThingRecord>,
    /// It is attached to the certificate.
    pub(crate) attached: bool,
}

/// The thing of a connection of this certificate with this client id.
pub(crate) async fn connection_thing(
    tx: &mut Tx,
    certificate: CertificateId,
    client_id: &str,
) -> Result<ConnectionThing, RegistryError> {
    let exclusive = principals::exclusive_thing(tx, certificate).await?;
    let is_exclusive = exclusive.is_some();
    let Some(name) = exclusive.or_else(|| ThingName::new(client_id).ok()) else {
        return Ok(ConnectionThing::default());
    };
    let record = tx.get::<ThingRecord>(&name).await?;
    let attached =
        record.is_some() && (is_exclusive || principals::attachment(tx, &name, certificate).await?.is_some());
    Ok(ConnectionThing { name: Some(name), record, attached })
}

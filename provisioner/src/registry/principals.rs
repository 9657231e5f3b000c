//! Certificates attached to things (`spec/control-plane.md` section 4).
use super::ca_certificates::id_in_key;
use super::page::{Page, PageRequest, name_in_key, page};
use super::{Registry, Result};
use crate::change::Change;
use crate::error::RegistryError;
use crate::names::{CertificateId, ThingName};
use crate::records::{CertificateRecord, PrincipalType, ThingRecord};
use crate::store::{Key, Table};
use crate::stored::{decode, encode, key_prefix};
use crate::transact::transact;
use crate::tx::Tx;

/// Attaches a certificate to a thing; again is no change.
pub(crate) async fn attach(
    tx: &mut Tx,
    thing: &ThingName,
    certificate: CertificateId,
    kind: PrincipalType,
) -> Result<()> {
    tx.require_exists::<ThingRecord>(thing).await?;
    tx.require_exists::<CertificateRecord>(&certificate).await?;
    if let Some(attached) = attachment(tx, thing, certificate).await? {
        if attached == kind {
            return Ok(());
        }
        return Err(RegistryError::InvalidRequest(format!(
            "certificate {certificate} is attached to thing {thing} as {}: detach it before attaching it as {}",
            shown(attached),
            shown(kind)
        )));
    }
    // One row tells: an exclusive attachment is the only one of its certificate.
    if let Some((key, value)) = some_thing(tx, certificate).await? {
        let table = Table::ThingsOfPrincipal;
        let other: ThingName = name_in_key(table, key.get(32..).unwrap_or_default())?;
        let other_kind: PrincipalType = decode(table, &key, &value)?;
        if kind == PrincipalType::ExclusiveThing || other_kind == PrincipalType::ExclusiveThing {
            return Err(RegistryError::InvalidRequest(format!(
                "certificate {certificate} is attached to thing {other} as {}, so it cannot be attached to thing \
                 {thing} as {}: detach it there first",
                shown(other_kind),
                shown(kind)
            )));
        }
    }
    tx.put_row(Table::PrincipalsOfThing, by_thing_key(thing, certificate), encode(&kind)?);
    tx.put_row(Table::ThingsOfPrincipal, by_principal_key(certificate, thing), encode(&kind)?);
    tx.record(Change::PrincipalAttachment {
        attached: true,
        thing: thing.clone(),
        certificate_id: certificate,
    });
    Ok(())
}

/// Detaches a certificate from a thing that it is attached to.
pub(crate) async fn detach(tx: &mut Tx, thing: &ThingName, certificate: CertificateId) -> Result<()> {
    tx.require_exists::<ThingRecord>(thing).await?;
    if attachment(tx, thing, certificate).await?.is_none() {
        return Err(RegistryError::NotFound {
            kind: "attachment",
            name: format!("of certificate {certificate} to thing {thing}"),
        });
    }
    tx.delete_row(Table::PrincipalsOfThing, by_thing_key(thing, certificate));
    tx.delete_row(Table::ThingsOfPrincipal, by_principal_key(certificate, thing));
    tx.record(Change::PrincipalAttachment {
        attached: false,
        thing: thing.clone(),
        certificate_id: certificate,
    });
    Ok(())
}

/// How a certificate is attached to a thing, if it is.
pub(crate) async fn attachment(
    tx: &mut Tx,
    thing: &ThingName,
    certificate: CertificateId,
) -> Result<Option<PrincipalType>> {
    let key = by_thing_key(thing, certificate);
    match tx.row_of::<CertificateRecord>(&certificate, Table::PrincipalsOfThing, &key).await? {
        Some(value) => Ok(Some(decode(Table::PrincipalsOfThing, &key, value)?)),
        None => Ok(None),
    }
}

/// The things that a certificate is attached to, and how.
pub(crate) async fn things_of(
    tx: &mut Tx,
    certificate: CertificateId,
) -> Result<Vec<(ThingName, PrincipalType)>> {
    let table = Table::ThingsOfPrincipal;
    let rows = tx.rows_of::<CertificateRecord>(&certificate, table, certificate.as_bytes()).await?;
    rows.iter()
        .map(|(key, value)| {
            let thing = name_in_key(table, key.get(32..).unwrap_or_default())?;
            Ok((thing, decode(table, key, value)?))
        })
        .collect()
}

/// The thing that a certificate is exclusively attached to, if it is.
pub(crate) async fn exclusive_thing(tx: &mut Tx, certificate: CertificateId) -> Result<Option<ThingName>> {
    let table = Table::ThingsOfPrincipal;
    let Some((key, value)) = some_thing(tx, certificate).await? else { return Ok(None) };
    match decode(table, &key, &value)? {
        PrincipalType::ExclusiveThing => name_in_key(table, key.get(32..).unwrap_or_default()).map(Some),
        PrincipalType::NonExclusiveThing => Ok(None),
    }
}

/// The row of some thing that a certificate is attached to.
async fn some_thing(tx: &mut Tx, certificate: CertificateId) -> Result<Option<(Key, Vec<u8>)>> {
    tx.any_row_of::<CertificateRecord>(&certificate, Table::ThingsOfPrincipal, certificate.as_bytes()).await
}
fn by_thing_key(thing: &ThingName, certificate: CertificateId) -> Key {
    [&key_prefix(thing.as_str())[..], certificate.as_bytes()].concat()
}
fn by_principal_key(certificate: CertificateId, thing: &ThingName) -> Key {
    [certificate.as_bytes(), thing.as_str().as_bytes()].concat()
}
const fn shown(kind: PrincipalType) -> &'static str {
    match kind {
        PrincipalType::ExclusiveThing => "EXCLUSIVE_THING",
        PrincipalType::NonExclusiveThing => "NON_EXCLUSIVE_THING",
    }
}

impl Registry {
    /// AttachThingPrincipal.
    pub async fn attach_thing_principal(
        &self,
        thing: &ThingName,
        certificate: CertificateId,
        kind: PrincipalType,
    ) -> Result<()> {
        transact!(self, |tx| attach(tx, thing, certificate, kind))
    }
    /// DetachThingPrincipal.
    pub async fn detach_thing_principal(&self, thing: &ThingName, certificate: CertificateId) -> Result<()> {
        transact!(self, |tx| detach(tx, thing, certificate))
    }
    /// ListThingPrincipals, ListThingPrincipalsV2, by certificate id; with a kind only those attached as it.
    pub async fn list_thing_principals(
        &self,
        thing: &ThingName,
        kind: Option<PrincipalType>,
        request: &PageRequest,
    ) -> Result<Page<(CertificateId, PrincipalType)>> {
        self.begin().require_exists::<ThingRecord>(thing).await?;
        let table = Table::PrincipalsOfThing;
        page(self.store(), table, &key_prefix(thing.as_str()), request, |key, value| {
            let attached: PrincipalType = decode(table, key, value)?;
            let fits = kind.is_none_or(|kind| kind == attached);
            if fits { Ok(Some((id_in_key(table, key)?, attached))) } else { Ok(None) }
        })
        .await
    }
    /// ListPrincipalThings, ListPrincipalThingsV2, by name; with a kind only those attached as it.
    pub async fn list_principal_things(
        &self,
        certificate: CertificateId,
        kind: Option<PrincipalType>,
        request: &PageRequest,
    ) -> Result<Page<(ThingName, PrincipalType)>> {
        self.begin().require_exists::<CertificateRecord>(&certificate).await?;
        let table = Table::ThingsOfPrincipal;
        page(self.store(), table, certificate.as_bytes(), request, |key, value| {
            let attached: PrincipalType = decode(table, key, value)?;
            let fits = kind.is_none_or(|kind| kind == attached);
            if fits { Ok(Some((name_in_key(table, key)?, attached))) } else { Ok(None) }
        })
        .await
    }
}

//! Certificates that registered themselves and wait for an operator (`spec/jitp.md` sections 1 and 9): an index by their CA,
//! so that finding them costs what there are of them, however many certificates there are.
use super::page::{Page, PageRequest, page, strange_key};
use super::{Registry, Result};
use crate::names::CertificateId;
use crate::records::{CertificateRecord, CertificateStatus};
use crate::store::{Direction, Key, KeyRange, Table};
use crate::stored::{Stored, encode};
use crate::transact::transact;
use crate::tx::Tx;

/// The setting that says that every certificate is in the index.
const COMPLETE: &[u8] = b"pending-certificates-indexed";
/// Certificates looked at in one commit while the index is made.
const CHUNK: usize = 1_000;

/// Notes a certificate that has just been inserted.
pub(super) fn enter(tx: &mut Tx, record: &CertificateRecord) {
    if let Some(key) = key(record) {
        tx.put_row(Table::PendingCertificates, key, Vec::new());
    }
}

/// Takes a certificate out, before its status is changed or it is deleted.
pub(super) fn leave(tx: &mut Tx, record: &CertificateRecord) {
    if let Some(key) = key(record) {
        tx.take_back_row(Table::PendingCertificates, key);
    }
}

fn key(record: &CertificateRecord) -> Option<Key> {
    let ca = record.ca_certificate_id.filter(|_| record.status == CertificateStatus::PendingActivation)?;
    Some([*ca.as_bytes(), *record.certificate_id.as_bytes()].concat())
}

/// Makes the index where an older program, or an archive of one, has left none.
pub(crate) async fn index(registry: &Registry) -> Result<()> {
    if registry.begin().row(Table::Settings, COMPLETE).await?.is_some() {
        return Ok(());
    }
    let mut range = KeyRange::prefix(&[]);
    loop {
        let rows = registry.store().scan(Table::Certificates, &range, CHUNK, Direction::Ascending).await?;
        let Some((last, _)) = rows.last() else { break };
        range = range.beyond(last.clone(), Direction::Ascending);
        let pending = |(key, row): &(Key, crate::store::Versioned)| {
            let record = CertificateRecord::decode(key, &row.value).ok()?;
            self::key(&record).map(|_| record.certificate_id)
        };
        let pending: Vec<CertificateId> = rows.iter().filter_map(pending).collect();
        transact!(registry, |tx| enter_all(tx, &pending))?;
    }
    transact!(registry, |tx| complete(tx))
}

async fn enter_all(tx: &mut Tx, ids: &[CertificateId]) -> Result<()> {
    for id in ids {
        if let Some(record) = tx.get::<CertificateRecord>(id).await? {
            enter(tx, &record);
        }
    }
    Ok(())
}

async fn complete(tx: &mut Tx) -> Result<()> {
    if tx.row(Table::Settings, COMPLETE).await?.is_none() {
        tx.put_row(Table::Settings, COMPLETE.to_vec(), encode(&true)?);
    }
    Ok(())
}

impl Registry {
    /// Certificates that registered themselves and wait, of a CA or of all, by CA and id. What has just been decided is
    /// left out.
    pub async fn list_pending_certificates(
        &self,
        ca: Option<CertificateId>,
        request: &PageRequest,
    ) -> Result<Page<CertificateRecord>> {
        let table = Table::PendingCertificates;
        let prefix: &[u8] = ca.as_ref().map_or(&[], |ca| ca.as_bytes());
        let ids = page(self.store(), table, prefix, request, |key, _| {
            let id = key.last_chunk::<32>().ok_or_else(|| strange_key(table, key))?;
            Ok(Some(CertificateId::from_bytes(*id)))
        });
        let mut page = self.records_of::<CertificateRecord>(ids.await?).await?;
        page.items.retain(|record| record.status == CertificateStatus::PendingActivation);
        Ok(page)
    }
}

//! Which certificate renewed which.
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::records::{CertificateRecord, CertificateStatus};
use crate::registry::Registry;
use crate::stored::stored_by_id;
use crate::tx::Tx;

/// A chain is followed so many certificates in each direction.
const MOST_LINKS: usize = 1_000;

/// The neighbours of a certificate in its chain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RenewalRecord {
    pub(crate) certificate_id: CertificateId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renews: Option<CertificateId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renewed_by: Option<CertificateId>,
    /// When it was renewed, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renewed_at: Option<Timestamp>,
    /// When it is retired at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retires_at: Option<Timestamp>,
    /// When it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retired_at: Option<Timestamp>,
}

/// One certificate of a chain of renewals.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RenewalLink {
    pub certificate_id: CertificateId,
    /// `None`: the certificate has been deleted since.
    pub status: Option<CertificateStatus>,
    pub created_at: Option<Timestamp>,
    /// When the next one was issued.
    pub renewed_at: Option<Timestamp>,
    /// When it is retired at the latest.
    pub retires_at: Option<Timestamp>,
    /// When it was retired.
    pub retired_at: Option<Timestamp>,
}

impl RenewalRecord {
    pub(crate) const fn of(certificate_id: CertificateId) -> Self {
        Self {
            certificate_id,
            renews: None,
            renewed_by: None,
            renewed_at: None,
            retires_at: None,
            retired_at: None,
        }
    }
}

/// Notes that one certificate renews another.
pub(super) async fn link(
    tx: &mut Tx,
    old: CertificateId,
    new: CertificateId,
    retires_at: Option<Timestamp>,
) -> Result<(), RegistryError> {
    let known: Option<RenewalRecord> = tx.get(&old).await?;
    let known = known.unwrap_or(RenewalRecord::of(old));
    tx.put(&RenewalRecord {
        renewed_by: Some(new),
        renewed_at: Some(tx.now()),
        retires_at,
        retired_at: None,
        ..known
    })?;
    tx.put(&RenewalRecord { renews: Some(old), ..RenewalRecord::of(new) })
}

impl Registry {
    /// The certificates that a certificate renews, itself, and those that renewed it; oldest first.
    ///
    /// # Errors
    /// `NotFound` if the certificate is neither registered nor part of a chain.
    pub async fn renewal_chain(&self, id: CertificateId) -> Result<Vec<RenewalLink>, RegistryError> {
        let mut tx = self.begin();
        let known: Option<RenewalRecord> = tx.get(&id).await?;
        let Some(middle) = known else {
            tx.require_exists::<CertificateRecord>(&id).await?;
            return Ok(vec![shown(&mut tx, RenewalRecord::of(id)).await?]);
        };
        let mut chain = std::collections::VecDeque::from([middle.clone()]);
        let mut next = middle.renews;
        while let (Some(id), true) = (next, chain.len() <= MOST_LINKS) {
            let Some(link) = tx.get::<RenewalRecord>(&id).await? else { break };
            next = link.renews;
            chain.push_front(link);
        }
        let (mut next, before) = (middle.renewed_by, chain.len());
        while let (Some(id), true) = (next, chain.len() - before < MOST_LINKS) {
            let Some(link) = tx.get::<RenewalRecord>(&id).await? else { break };
            next = link.renewed_by;
            chain.push_back(link);
        }
        let mut links = Vec::with_capacity(chain.len());
        for link in chain {
            links.push(shown(&mut tx, link).await?);
        }
        Ok(links)
    }
}

async fn shown(tx: &mut Tx, link: RenewalRecord) -> Result<RenewalLink, RegistryError> {
    let record: Option<CertificateRecord> = tx.get(&link.certificate_id).await?;
    Ok(RenewalLink {
        certificate_id: link.certificate_id,
        status: record.as_ref().map(|record| record.status),
        created_at: record.map(|record| record.created_at),
        renewed_at: link.renewed_at,
        retires_at: link.retires_at,
        retired_at: link.retired_at,
    })
}

stored_by_id!(RenewalRecord, Renewals, "renewal", certificate_id);

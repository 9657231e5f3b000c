//! The end of a certificate that has been renewed.
use super::RenewalRecord;
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::records::{CertificateRecord, CertificateStatus};
use crate::registry::{Registry, certificates};
use crate::transact::transact;
use crate::tx::Tx;

/// A certificate connects for the first time: the one that it renews is set to INACTIVE, durably when this returns. Where
/// that cannot be, the next connection does it.
pub(crate) async fn connected(registry: &Registry, new: CertificateId) {
    if let Err(error) = transact!(registry, |tx| take_over(tx, new)) {
        tracing::warn!(certificateId = %new, %error, "the certificate that this one renews could not be retired yet");
    }
}

async fn take_over(tx: &mut Tx, new: CertificateId) -> Result<(), RegistryError> {
    let record: CertificateRecord = tx.require(&new).await?;
    let Some(old) = record.retires else { return Ok(()) };
    tx.put(&CertificateRecord { retires: None, ..record })?;
    retire(tx, old).await
}

/// Sets a renewed certificate to INACTIVE, if nobody has decided otherwise; an operator can bring it back.
pub(crate) async fn retire(tx: &mut Tx, old: CertificateId) -> Result<(), RegistryError> {
    let link: Option<RenewalRecord> = tx.get(&old).await?;
    let Some(link) = link.filter(|link| link.retired_at.is_none() && link.renewed_by.is_some()) else {
        return Ok(());
    };
    tx.put(&RenewalRecord { retired_at: Some(tx.now()), ..link })?;
    let record: Option<CertificateRecord> = tx.get(&old).await?;
    match record {
        Some(record) if record.status == CertificateStatus::Active => {
            certificates::change_status(tx, record, CertificateStatus::Inactive).map(drop)
        }
        _ => Ok(()),
    }
}

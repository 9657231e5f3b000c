//! Can this program read a row?
use super::line::Row;
use crate::issuing::ProvisioningClaim;
use crate::records::{
    BillingGroupRecord, CaCertificateRecord, CertificateProviderRecord, CertificateRecord,
    EventConfigurations, PolicyRecord, PolicyVersionRecord, TemplateRecord, TemplateVersionRecord,
    ThingGroupRecord, ThingRecord, ThingTypeRecord,
};
use crate::store::{StoreError, Table};
use crate::stored::{Stored, decode};
use serde::de::IgnoredAny;

/// Reads a row as the registry would: a record of a newer format, or one that is not what its table holds, is an error that
/// says where.
pub(super) fn check(row: &Row) -> Result<(), StoreError> {
    match row.table {
        Table::Things => record::<ThingRecord>(row),
        Table::ThingTypes => record::<ThingTypeRecord>(row),
        Table::ThingGroups => record::<ThingGroupRecord>(row),
        Table::BillingGroups => record::<BillingGroupRecord>(row),
        Table::Policies => record::<PolicyRecord>(row),
        Table::PolicyVersions => record::<PolicyVersionRecord>(row),
        Table::Templates => record::<TemplateRecord>(row),
        Table::TemplateVersions => record::<TemplateVersionRecord>(row),
        Table::Certificates => record::<CertificateRecord>(row),
        Table::CaCertificates => record::<CaCertificateRecord>(row),
        Table::CertificateProviders => record::<CertificateProviderRecord>(row),
        Table::Claims => record::<ProvisioningClaim>(row),
        Table::Settings if row.key == b"event-configurations" => {
            decode::<EventConfigurations>(row.table, &row.key, &row.value).map(|_| ())
        }
        // Whatever else is kept in the records' envelope.
        _ if row.value.starts_with(b"{") => decode::<IgnoredAny>(row.table, &row.key, &row.value).map(|_| ()),
        _ => Ok(()),
    }
}

/// It must also lie where it says that it is.
fn record<R: Stored>(row: &Row) -> Result<(), StoreError> {
    let record = R::decode(&row.key, &row.value)?;
    if record.key() == row.key {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!(
        "the record with key \"{}\" in the table {:?} is that of another {}",
        row.key.escape_ascii(),
        row.table.name(),
        R::KIND
    )))
}

//! Billing groups (`spec/control-plane.md` section 6).
use super::{Registry, Result, description};
use crate::arn::ResourceKind;
use crate::error::RegistryError;
use crate::names::BillingGroupName;
use crate::records::BillingGroupRecord;
use crate::stored::Stored;
use crate::transact::transact;
use crate::tx::Tx;

/// Creates a billing group.
pub(crate) async fn create(
    tx: &mut Tx,
    name: &BillingGroupName,
    text: Option<&str>,
) -> Result<BillingGroupRecord> {
    description::check("billing group", text, 2028)?;
    if let Some(known) = tx.get::<BillingGroupRecord>(name).await? {
        return Err(RegistryError::AlreadyExists {
            kind: BillingGroupRecord::KIND,
            id: known.billing_group_id,
            arn: tx.arn(ResourceKind::BillingGroup, name.as_str()).to_string(),
            hint: format!(" under the name {name}"),
        });
    }
    let record = BillingGroupRecord {
        name: name.clone(),
        billing_group_id: uuid::Uuid::new_v4().to_string(),
        description: text.map(Into::into),
        version: 1,
        created_at: tx.now(),
    };
    tx.put(&record)?;
    Ok(record)
}

impl Registry {
    /// CreateBillingGroup.
    pub async fn create_billing_group(
        &self,
        name: BillingGroupName,
        description: Option<String>,
    ) -> Result<BillingGroupRecord> {
        transact!(self, |tx| create(tx, &name, description.as_deref()))
    }
}

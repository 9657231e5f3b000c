//! GetEffectivePolicies: which policies count for a device (`spec/control-plane.md` section 7).
use super::policies_of_groups;
use crate::error::RegistryError;
use crate::names::{CertificateId, ThingName};
use crate::records::{CertificateRecord, PolicyTarget, PolicyVersionRecord, ThingRecord};
use crate::registry::{policies, policy_attachments, principals};
use crate::tx::Tx;
use std::collections::BTreeSet;

/// The default versions of the policies of a certificate, of the groups of a thing, or of both: then those of the groups
/// count only if the certificate is attached to the thing (`spec/policies.md` section 7).
pub(crate) async fn effective(
    tx: &mut Tx,
    principal: Option<CertificateId>,
    thing: Option<&ThingName>,
) -> Result<Vec<PolicyVersionRecord>, RegistryError> {
    let mut names = BTreeSet::new();
    if let Some(id) = principal {
        tx.require::<CertificateRecord>(&id).await?;
        names.extend(policy_attachments::policies_of(tx, &PolicyTarget::Certificate(id)).await?);
    }
    if let Some(thing) = thing {
        tx.require::<ThingRecord>(thing).await?;
        let counts = match principal {
            Some(id) => principals::attachment(tx, thing, id).await?.is_some(),
            None => true,
        };
        if counts {
            names.extend(policies_of_groups(tx, thing).await?.0);
        }
    }
    let mut documents = Vec::with_capacity(names.len());
    for name in &names {
        documents.push(policies::default_version(tx, name).await?);
    }
    Ok(documents)
}

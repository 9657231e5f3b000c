//! Tags (`spec/control-plane.md` section 9 and name patterns).
use super::{Registry, Result};
use crate::arn::{Arn, ResourceKind};
use crate::error::RegistryError;
use crate::records::{
    BillingGroupRecord, CaCertificateRecord, CertificateProviderRecord, PolicyRecord, TemplateRecord,
    ThingGroupRecord, ThingTypeRecord,
};
use crate::stored::Stored;
use crate::transact::transact;
use crate::tx::Tx;
use std::collections::BTreeMap;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

const MOST: usize = 50;

/// Are these legal tags of a new resource?
pub(super) fn check(tags: &Tags) -> Result<()> {
    if tags.len() > MOST {
        return Err(RegistryError::InvalidRequest(format!(
            "{} tags were given: {MOST} are allowed",
            tags.len()
        )));
    }
    for (key, value) in tags {
        if !(1..=128).contains(&key.chars().count()) || !is_legal(key) {
            return Err(RegistryError::InvalidRequest(format!(
                "the tag key {key:?} must be 1 to 128 letters, digits, spaces or _ . : / = + - @"
            )));
        }
        if value.chars().count() > 256 || !is_legal(value) {
            return Err(RegistryError::InvalidRequest(format!(
                "the value of the tag {key:?} must be at most 256 letters, digits, spaces or _ . : / = + - @"
            )));
        }
    }
    Ok(())
}

fn is_legal(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_alphanumeric() || c == ' ' || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
    })
}

/// A change of tags.
#[derive(Debug, Clone)]
enum Edit {
    Set(Tags),
    Remove(Vec<String>),
}

impl Edit {
    fn apply(&self, tags: &mut Tags) -> Result<()> {
        match self {
            Self::Set(new) => {
                tags.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
                if tags.len() > MOST {
                    return Err(RegistryError::LimitExceeded(format!(
                        "the resource would have {} tags, and {MOST} are allowed: remove some first",
                        tags.len()
                    )));
                }
            }
            Self::Remove(keys) => tags.retain(|key, _| !keys.contains(key)),
        }
        Ok(())
    }
}

/// A record that carries tags.
trait Tagged: Stored + PartialEq + Clone {
    fn tags(&mut self) -> &mut Tags;
}
macro_rules! tagged {
    ($($record:ty),+) => {$(
        impl Tagged for $record {
            fn tags(&mut self) -> &mut Tags {
                &mut self.tags
            }
        }
    )+};
}
tagged!(
    BillingGroupRecord,
    CaCertificateRecord,
    CertificateProviderRecord,
    PolicyRecord,
    TemplateRecord,
    ThingGroupRecord,
    ThingTypeRecord
);

/// The tags of a resource, after an edit if one is given.
async fn edit(tx: &mut Tx, arn: &Arn, change: Option<&Edit>) -> Result<Tags> {
    match arn.kind {
        ResourceKind::BillingGroup => edit_record::<BillingGroupRecord>(tx, arn, change).await,
        ResourceKind::CaCertificate => edit_record::<CaCertificateRecord>(tx, arn, change).await,
        ResourceKind::CertificateProvider => edit_record::<CertificateProviderRecord>(tx, arn, change).await,
        ResourceKind::Policy => edit_record::<PolicyRecord>(tx, arn, change).await,
        ResourceKind::ProvisioningTemplate => edit_record::<TemplateRecord>(tx, arn, change).await,
        ResourceKind::ThingGroup => edit_record::<ThingGroupRecord>(tx, arn, change).await,
        ResourceKind::ThingType => edit_record::<ThingTypeRecord>(tx, arn, change).await,
        ResourceKind::Thing | ResourceKind::Certificate => Err(RegistryError::InvalidRequest(format!(
            "{arn} cannot have tags: CA certificates, certificate providers, policies, provisioning templates, thing types, \
             thing groups and billing groups can"
        ))),
    }
}

async fn edit_record<R: Tagged>(tx: &mut Tx, arn: &Arn, change: Option<&Edit>) -> Result<Tags>
where
    R::Id: std::str::FromStr<Err: std::fmt::Display> + Sized,
{
    let id: R::Id = arn.name.parse().map_err(|error| {
        RegistryError::InvalidRequest(format!("{arn} is not the ARN of a {}: {error}", R::KIND))
    })?;
    let before: R = tx.require(&id).await?;
    let mut after = before.clone();
    if let Some(change) = change {
        change.apply(after.tags())?;
    }
    if after != before {
        tx.put(&after)?;
    }
    Ok(std::mem::take(after.tags()))
}

impl Registry {
    /// ListTagsForResource, by key; at most 50.
    ///
    /// # Errors
    /// `NotFound` if there is no such resource, `InvalidRequest` if its kind has no tags.
    pub async fn tags(&self, resource: &Arn) -> Result<Tags> {
        edit(&mut self.begin(), resource, None).await
    }
    /// TagResource: adds tags, or gives those that there are new values.
    pub async fn tag(&self, resource: &Arn, tags: Tags) -> Result<()> {
        check(&tags)?;
        let change = Edit::Set(tags);
        transact!(self, |tx| edit(tx, resource, Some(&change))).map(|_| ())
    }
    /// UntagResource: removes tags; one that is not there is no error.
    pub async fn untag(&self, resource: &Arn, keys: Vec<String>) -> Result<()> {
        let change = Edit::Remove(keys);
        transact!(self, |tx| edit(tx, resource, Some(&change))).map(|_| ())
    }
}

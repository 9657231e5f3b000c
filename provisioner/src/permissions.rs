//! The policies of a connection: which apply, and what they were computed from.
mod certificate_fields;
mod connection_thing;
pub(crate) mod documents;
mod effective;
mod question;

use crate::change::Dependency;
use crate::error::RegistryError;
use crate::names::{PolicyName, ThingGroupName, ThingName};
use crate::records::{PolicyTarget, ThingGroupRecord, ThingRecord};
use crate::registry::{dynamic_groups, policy_attachments, thing_groups};
use crate::tx::Tx;
pub(crate) use effective::effective;
pub(crate) use question::answer;
pub use question::{AuthorizationAnswer, AuthorizationQuestion, AuthorizationRequest};

use certificate_fields::certificate_fields;
use connection_thing::connection_thing;
use documents::Documents;
use jitp_certs::Certificate;
use jitp_policies::{Context, Permissions, Scope, ThingContext};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// What CONNECT said.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ConnectContext {
    /// Empty: there is none, as over HTTP.
    pub client_id: Arc<str>,
    pub source_ip: IpAddr,
    pub server_name: Option<Arc<str>>,
    /// Clean session 0, or a session expiry above 0.
    pub persistent: bool,
    pub will_topic: Option<Arc<str>>,
}

/// The permissions of a connection.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Granted {
    pub permissions: Permissions,
    /// When a change touches one of these, compute the permissions again. Names things and policies that do not exist
    /// yet but would count.
    pub depends_on: Vec<Dependency>,
}

/// Which policies apply to a connection of this certificate (`spec/policies.md` sections 6 and 7), compiled.
pub(crate) async fn grant(
    tx: &mut Tx,
    documents: &Documents,
    certificate: &Certificate,
    connect: &ConnectContext,
) -> Result<Granted, RegistryError> {
    let id = certificate.id();
    let thing = connection_thing(tx, id, &connect.client_id).await?;
    let mut depends_on = vec![Dependency::Certificate(id)];
    depends_on.extend(thing.name.clone().map(Dependency::Thing));

    let mut applicable = BTreeSet::new();
    applicable.extend(policy_attachments::policies_of(tx, &PolicyTarget::Certificate(id)).await?);
    if let (true, Some(record)) = (thing.attached, &thing.record) {
        let (policies, groups) = policies_of_groups(tx, &record.name).await?;
        applicable.extend(policies);
        depends_on.extend(groups.into_iter().map(Dependency::ThingGroup));
        depends_on.push(Dependency::DynamicGroups);
    }
    let mut attached = Vec::with_capacity(applicable.len());
    for policy in &applicable {
        attached.extend(documents.default_version(tx, policy).await?);
    }
    depends_on.extend(applicable.into_iter().map(Dependency::Policy));

    let resolves = thing.attached || !tx.options().thing_vars_require_attachment;
    let context = Context {
        client_id: Some(connect.client_id.to_string()).filter(|id| !id.is_empty()),
        source_ip: Some(connect.source_ip),
        domain_name: connect.server_name.as_deref().map(str::to_owned),
        certificate_id: Some(id.to_string()),
        certificate_serial_number: Some(certificate.serial_number().to_owned()),
        certificate_fields: certificate_fields(certificate),
        thing: thing.record.filter(|_| resolves).map(|record| ThingContext {
            name: record.name.to_string(),
            thing_type: record.thing_type.map(|name| name.to_string()),
            attributes: record.attributes.into_iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        }),
        thing_is_attached: thing.attached,
        persistent_connect: connect.persistent,
        last_will_topic: connect.will_topic.as_deref().map(str::to_owned),
    };
    let scope = Scope { region: tx.options().region.clone(), account: tx.options().account.clone() };
    Ok(Granted { permissions: Permissions::compile(&attached, &scope, &context), depends_on })
}

/// The policies that a thing has of its groups, and these groups.
async fn policies_of_groups(
    tx: &mut Tx,
    thing: &ThingName,
) -> Result<(BTreeSet<PolicyName>, BTreeSet<ThingGroupName>), RegistryError> {
    let groups = groups_with_ancestors(tx, thing).await?;
    let mut policies = BTreeSet::new();
    for group in &groups {
        policies.extend(policy_attachments::policies_of(tx, &PolicyTarget::ThingGroup(group.clone())).await?);
    }
    Ok((policies, groups))
}

/// The groups of a thing and all groups above them: policies are inherited downward.
async fn groups_with_ancestors(
    tx: &mut Tx,
    thing: &ThingName,
) -> Result<BTreeSet<ThingGroupName>, RegistryError> {
    let mut all = BTreeSet::new();
    let own = thing_groups::groups_of(tx, thing).await?;
    if let Some(record) = tx.get::<ThingRecord>(thing).await? {
        all.extend(dynamic_groups::of_thing(tx, &record, &own).await?);
    }
    for group in own {
        if let Some(record) = tx.get::<ThingGroupRecord>(&group).await? {
            all.extend(record.ancestors);
        }
        all.insert(group);
    }
    Ok(all)
}

//! The dry run: what would a certificate and a template bring about here? Nothing is written.
use crate::admission::apply::apply;
use crate::admission::cause::Cause;
use crate::admission::overrides::{self, Effect, rule};
use crate::admission::standing::standing;
use crate::admission::{leaf, parameters};
use crate::error::RegistryError;
use crate::names::ThingGroupName;
use crate::permissions::{ConnectContext, grant};
use crate::provisioner::Inner;
use crate::records::{
    BillingGroupRecord, CertificateMode, CertificateRecord, CertificateStatus, PolicyRecord,
    ThingGroupRecord, ThingRecord, ThingTypeRecord,
};
use crate::registry::thing_groups;
use crate::stored::Stored;
use crate::tx::Tx;
use jitp_certs::Certificate;
use jitp_policies::Permissions;
use jitp_templates::{Override, Plan, PolicySource, ThingPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// A resource of the plan that exists already, and what its override would do.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Existing {
    /// Logical name in the template.
    pub resource: String,
    /// `thing pump-1`, `policy gateway-base`, `thing group inbound`.
    pub what: String,
    pub exists: bool,
    /// What would happen: `kept`, `replaced`, `merged`, `created`, `reused`, `FAIL: …`, `missing: …`.
    pub effect: String,
}

/// The outcome of a dry run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Simulation {
    pub plan: Plan,
    pub existing: Vec<Existing>,
    /// Reason code and message of the first failure; `None` means it would succeed.
    pub failure: Option<(crate::reason::ReasonCode, String)>,
    /// The effective permissions that the device would get, connecting with its thing's name as client id.
    pub permissions: serde_json::Value,
}

/// Runs a template body over a certificate in a unit of work that is never committed.
pub(crate) async fn simulate(inner: &Inner, body: &str, pem: &str) -> Result<Simulation, RegistryError> {
    let template = inner.templates.jitp(inner.registry.options(), body).map_err(|problems| {
        RegistryError::InvalidRequest(format!("the template does not validate: {problems}"))
    })?;
    let leaf = Certificate::from_pem(pem)
        .map_err(|error| RegistryError::InvalidRequest(format!("the certificate cannot be read: {error}")))?;
    let values = parameters::bind(&leaf, inner.registry.options().jitp_serial_fallback);
    let plan = match template.evaluate(&values) {
        Ok(plan) => plan,
        Err(error) => return Ok(Simulation::failed(nothing_planned(), Vec::new(), Cause::from(error))),
    };
    let mut tx = inner.registry.begin();
    let existing = existing(&mut tx, &plan, &leaf).await?;
    if let Err(cause) = run(&mut tx, &plan, &leaf).await {
        return Ok(Simulation::failed(plan, existing, cause));
    }
    let client_id = plan.thing.as_ref().map(|thing| thing.name.as_str());
    let connect = ConnectContext {
        client_id: client_id
            .or_else(|| leaf.subject().first(jitp_certs::Attribute::CommonName))
            .unwrap_or("")
            .into(),
        source_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_name: None,
        persistent: false,
        will_topic: None,
    };
    let granted = grant(&mut tx, &inner.documents, &leaf, &connect).await?;
    Ok(Simulation { plan, existing, failure: None, permissions: granted.permissions.describe() })
}

/// What a first connection would do, as far as the template goes: its CA is not asked for.
async fn run(tx: &mut Tx, plan: &Plan, leaf: &Certificate) -> Result<(), Cause> {
    leaf::check(leaf, tx.now().unix_seconds())?;
    let known = tx.get::<CertificateRecord>(&leaf.id()).await?;
    let record = match known {
        // The template does not run again.
        Some(record) if record.status == CertificateStatus::Active => return Ok(()),
        Some(record) if record.status == CertificateStatus::PendingActivation => record,
        Some(record) => return standing(&record).map(drop),
        None => {
            let record = CertificateRecord {
                certificate_id: leaf.id(),
                der: leaf.der().into(),
                status: CertificateStatus::PendingActivation,
                mode: CertificateMode::Default,
                ca_certificate_id: None,
                created_at: tx.now(),
                modified_at: tx.now(),
                version: 1,
                generation_id: String::new(),
                last_error: None,
                retires: None,
            };
            tx.put(&record)?;
            record
        }
    };
    apply(tx, plan, record).await.map(drop)
}

/// Everything that the plan names, whether it exists, and what would become of it.
async fn existing(tx: &mut Tx, plan: &Plan, leaf: &Certificate) -> Result<Vec<Existing>, RegistryError> {
    let mut found = Vec::new();
    if let Some(thing) = &plan.thing {
        existing_thing(tx, thing, &mut found).await?;
    }
    if let Some(certificate) = &plan.certificate {
        let known = tx.get::<CertificateRecord>(&leaf.id()).await?;
        let effect = match known.as_ref().map(|record| record.status) {
            None => "created".to_owned(),
            Some(CertificateStatus::PendingActivation) => "replaced".to_owned(),
            Some(CertificateStatus::Active) => {
                "kept: it is ACTIVE, the template does not run again".to_owned()
            }
            Some(status) => format!("FAIL: it is {status:?}"),
        };
        let what = format!("certificate {}", leaf.id());
        found.push(Existing {
            resource: certificate.logical_name.clone(),
            what,
            exists: known.is_some(),
            effect,
        });
    }
    for policy in &plan.policies {
        let exists = tx.exists::<PolicyRecord>(&policy.name).await?;
        let effect = match (&policy.source, exists) {
            (_, true) => "reused",
            (PolicySource::Inline { .. }, false) => "created",
            (PolicySource::Existing, false) => "missing: create the policy",
        };
        let what = format!("policy {}", policy.name);
        found.push(Existing { resource: policy.logical_name.clone(), what, exists, effect: effect.into() });
    }
    Ok(found)
}

async fn existing_thing(
    tx: &mut Tx,
    plan: &ThingPlan,
    found: &mut Vec<Existing>,
) -> Result<(), RegistryError> {
    let entry = |what: String, exists: bool, effect: String| Existing {
        resource: plan.logical_name.clone(),
        what,
        exists,
        effect,
    };
    let thing = tx.get::<ThingRecord>(&plan.name).await?;
    let effect = if thing.is_some() { "kept" } else { "created" };
    found.push(entry(format!("thing {}", plan.name), thing.is_some(), effect.into()));
    if let Some(name) = &plan.thing_type {
        found.push(referenced::<ThingTypeRecord>(tx, plan, name).await?);
    }
    for name in plan.groups.iter().flatten() {
        found.push(referenced::<ThingGroupRecord>(tx, plan, name).await?);
    }
    if let Some(name) = &plan.billing_group {
        found.push(referenced::<BillingGroupRecord>(tx, plan, name).await?);
    }
    let Some(thing) = thing else { return Ok(()) };
    let default_fail = tx.options().override_default_fail;
    if let Some(wanted) = &plan.attributes {
        let rule = rule(plan.attributes_override, default_fail);
        let effect = told(&overrides::attributes(&thing.attributes, wanted, rule), rule);
        found.push(entry(format!("attributes of thing {}", plan.name), true, effect));
    }
    if let Some(wanted) = &plan.thing_type {
        let rule = rule(plan.thing_type_override, default_fail);
        let effect = told(&overrides::thing_type(thing.thing_type.as_ref(), wanted, rule), rule);
        found.push(entry(format!("thing type of thing {}", plan.name), thing.thing_type.is_some(), effect));
    }
    if let Some(wanted) = &plan.groups {
        let rule = rule(plan.groups_override, default_fail);
        let groups: BTreeSet<ThingGroupName> =
            thing_groups::groups_of(tx, &plan.name).await?.into_iter().collect();
        let effect = told(&overrides::groups(&groups, wanted, rule), rule);
        found.push(entry(format!("thing groups of thing {}", plan.name), !groups.is_empty(), effect));
    }
    Ok(())
}

/// A resource that templates never create.
async fn referenced<R: Stored>(
    tx: &mut Tx,
    plan: &ThingPlan,
    name: &R::Id,
) -> Result<Existing, RegistryError> {
    let exists = tx.exists::<R>(name).await?;
    let effect = if exists { "reused".to_owned() } else { format!("missing: create the {}", R::KIND) };
    let what = format!("{} {}", R::KIND, R::describe(name));
    Ok(Existing { resource: plan.logical_name.clone(), what, exists, effect })
}

fn told<T>(effect: &Effect<T>, rule: Override) -> String {
    match (effect, rule) {
        (Effect::Keep, _) => "kept",
        (Effect::Set(_), Override::Merge) => "merged",
        (Effect::Set(_), _) => "replaced",
        (Effect::Conflict, _) => "FAIL: the override says FAIL and the value differs",
    }
    .to_owned()
}

impl Simulation {
    fn failed(plan: Plan, existing: Vec<Existing>, cause: Cause) -> Self {
        let permissions = Permissions::none().describe();
        Self { plan, existing, failure: Some((cause.reason, cause.message)), permissions }
    }
}

fn nothing_planned() -> Plan {
    Plan { thing: None, certificate: None, policies: Vec::new(), device_configuration: BTreeMap::new() }
}

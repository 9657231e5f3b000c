//! A plan becomes resources, in one unit of work (`spec/templates.md` sections 3 and 4). Also the dry run's engine.
use crate::admission::cause::Cause;
use crate::admission::overrides::{self, Effect, rule};
use crate::error::RegistryError;
use crate::names::ThingGroupName;
use crate::reason::ReasonCode;
use crate::records::{
    BillingGroupRecord, CertificateRecord, PolicyRecord, PolicyTarget, ThingGroupRecord, ThingRecord,
    ThingTypeRecord,
};
use crate::registry::{
    CreateThing, Tags, UpdateThing, certificates, policies, policy_attachments, principals, thing_groups,
    things,
};
use crate::tx::Tx;
use jitp_templates::{CertificatePlan, Plan, PolicyPlan, PolicySource, ThingPlan};
use std::collections::BTreeSet;

/// Groups of a thing, at most (`spec/quotas.md` section 4): told apart here from other objections to a group.
const MOST_GROUPS: usize = 10;

/// Brings about what a plan says, for a certificate that stands in the unit of work already. Order: thing, policies,
/// attachments, and the certificate's status last. The error names the resource that failed; the unit of work must be
/// dropped then.
pub(crate) async fn apply(
    tx: &mut Tx,
    plan: &Plan,
    certificate: CertificateRecord,
) -> Result<CertificateRecord, Cause> {
    let id = certificate.certificate_id;
    if let Some(thing) = &plan.thing {
        bring_thing(tx, thing).await?;
    }
    for policy in &plan.policies {
        bring_policy(tx, policy).await?;
        let target = PolicyTarget::Certificate(id);
        let attached = policy_attachments::attach(tx, &policy.name, &target).await;
        attached.map_err(|e| placed(e, &policy.logical_name, "Properties"))?;
    }
    if let (Some(thing), Some(plan)) = (&plan.thing, &plan.certificate) {
        let attached = principals::attach(tx, &thing.name, id, plan.principal_type).await;
        attached.map_err(|error| match error {
            RegistryError::InvalidRequest(message) => {
                let property = "Properties.ThingPrincipalType";
                Cause::at(ReasonCode::ResourceConflict, &plan.logical_name, property, message)
            }
            error => placed(error, &plan.logical_name, "Properties.ThingPrincipalType"),
        })?;
    }
    match &plan.certificate {
        Some(plan) => set_status(tx, plan, certificate),
        None => Ok(certificate),
    }
}

/// The same for a plan without a certificate: nothing can be attached.
pub(crate) async fn apply_without_certificate(tx: &mut Tx, plan: &Plan) -> Result<(), Cause> {
    if let Some(thing) = &plan.thing {
        bring_thing(tx, thing).await?;
    }
    for policy in &plan.policies {
        bring_policy(tx, policy).await?;
    }
    Ok(())
}

async fn bring_thing(tx: &mut Tx, plan: &ThingPlan) -> Result<(), Cause> {
    match tx.get::<ThingRecord>(&plan.name).await? {
        None => create_thing(tx, plan).await,
        Some(thing) => override_thing(tx, plan, &thing).await,
    }
}

async fn create_thing(tx: &mut Tx, plan: &ThingPlan) -> Result<(), Cause> {
    check_type(tx, plan).await?;
    if let Some(group) = &plan.billing_group
        && !tx.exists::<BillingGroupRecord>(group).await?
    {
        let message = format!("the billing group {group} does not exist: create it");
        return Err(at(plan, ReasonCode::BillingGroupNotFound, "Properties.BillingGroup", message));
    }
    let create = CreateThing {
        thing_type: plan.thing_type.clone(),
        attributes: plan.attributes.clone().unwrap_or_default(),
        billing_group: plan.billing_group.clone(),
    };
    let created = things::create(tx, &plan.name, &create).await;
    created.map_err(|e| placed(e, &plan.logical_name, "Properties"))?;
    for group in plan.groups.iter().flatten() {
        join(tx, plan, group).await?;
    }
    // Nobody has to look for the groups of a thing that is new: the connection that follows asks for them.
    thing_groups::groups_of(tx, &plan.name).await?;
    Ok(())
}

async fn override_thing(tx: &mut Tx, plan: &ThingPlan, thing: &ThingRecord) -> Result<(), Cause> {
    let default_fail = tx.options().override_default_fail;
    let mut update = UpdateThing::default();
    if let Some(wanted) = &plan.attributes {
        match overrides::attributes(&thing.attributes, wanted, rule(plan.attributes_override, default_fail)) {
            Effect::Keep => {}
            Effect::Set(attributes) => update.attributes = Some(attributes),
            Effect::Conflict => return Err(conflict(plan, "AttributePayload", "other attributes")),
        }
    }
    if let Some(wanted) = &plan.thing_type {
        let rule = rule(plan.thing_type_override, default_fail);
        match overrides::thing_type(thing.thing_type.as_ref(), wanted, rule) {
            Effect::Keep => {}
            Effect::Set(thing_type) => {
                check_type(tx, plan).await?;
                update.thing_type = Some(thing_type);
            }
            Effect::Conflict => return Err(conflict(plan, "ThingTypeName", "another thing type")),
        }
    }
    if update.attributes.is_some() || update.thing_type.is_some() {
        let updated = things::update(tx, &plan.name, &update).await;
        updated.map_err(|e| placed(e, &plan.logical_name, "Properties"))?;
    }
    if let Some(wanted) = &plan.groups {
        let existing: BTreeSet<ThingGroupName> =
            thing_groups::groups_of(tx, &plan.name).await?.into_iter().collect();
        match overrides::groups(&existing, wanted, rule(plan.groups_override, default_fail)) {
            Effect::Keep => {}
            Effect::Set(membership) => {
                for group in &membership.leave {
                    let left = thing_groups::remove(tx, &plan.name, group).await;
                    left.map_err(|e| placed(e, &plan.logical_name, "Properties.ThingGroups"))?;
                }
                for group in &membership.join {
                    join(tx, plan, group).await?;
                }
            }
            Effect::Conflict => return Err(conflict(plan, "ThingGroups", "other thing groups")),
        }
    }
    Ok(())
}

async fn check_type(tx: &mut Tx, plan: &ThingPlan) -> Result<(), Cause> {
    let Some(name) = &plan.thing_type else { return Ok(()) };
    let property = "Properties.ThingTypeName";
    let thing_type = tx.get::<ThingTypeRecord>(name).await?.ok_or_else(|| {
        let message = format!("the thing type {name} does not exist: create it");
        at(plan, ReasonCode::ThingTypeNotFound, property, message)
    })?;
    if thing_type.deprecated_at.is_some() {
        let message = format!(
            "the thing type {name} is deprecated: undo the deprecation, or name another in the template"
        );
        return Err(at(plan, ReasonCode::ThingTypeDeprecated, property, message));
    }
    Ok(())
}

async fn join(tx: &mut Tx, plan: &ThingPlan, group: &ThingGroupName) -> Result<(), Cause> {
    let property = "Properties.ThingGroups";
    if !tx.exists::<ThingGroupRecord>(group).await? {
        let message = format!("the thing group {group} does not exist: create it");
        return Err(at(plan, ReasonCode::ThingGroupNotFound, property, message));
    }
    let present = thing_groups::groups_of(tx, &plan.name).await?;
    if !present.contains(group) && present.len() >= MOST_GROUPS {
        let message =
            format!("the thing {} is in {MOST_GROUPS} thing groups already: remove it from one", plan.name);
        return Err(at(plan, ReasonCode::LimitExceeded, property, message));
    }
    let joined = thing_groups::add(tx, &plan.name, group, true).await;
    joined.map_err(|e| placed(e, &plan.logical_name, property))
}

async fn bring_policy(tx: &mut Tx, plan: &PolicyPlan) -> Result<(), Cause> {
    if tx.exists::<PolicyRecord>(&plan.name).await? {
        return Ok(());
    }
    match &plan.source {
        PolicySource::Existing => {
            let message = format!("the policy {} does not exist: create it", plan.name);
            let property = "Properties.PolicyName";
            Err(Cause::at(ReasonCode::PolicyNotFound, &plan.logical_name, property, message))
        }
        PolicySource::Inline { document } => {
            let created = policies::create(tx, &plan.name, document, &Tags::new()).await;
            created.map(drop).map_err(|e| placed(e, &plan.logical_name, "Properties.PolicyDocument"))
        }
    }
}

fn set_status(
    tx: &mut Tx,
    plan: &CertificatePlan,
    certificate: CertificateRecord,
) -> Result<CertificateRecord, Cause> {
    let property = "Properties.Status";
    let default_fail = tx.options().override_default_fail;
    let certificate = match overrides::status(
        certificate.status,
        plan.status,
        plan.status_override,
        default_fail,
    ) {
        Effect::Keep => certificate,
        Effect::Set(status) => {
            let set = certificates::change_status(tx, certificate, status);
            set.map_err(|e| placed(e, &plan.logical_name, property))?
        }
        Effect::Conflict => {
            let message = format!(
                "the certificate is {:?} and the template would change that: set its status by hand, or change the \
                 override",
                certificate.status
            );
            return Err(Cause::at(ReasonCode::ResourceConflict, &plan.logical_name, property, message));
        }
    };
    Ok(certificates::change_last_error(tx, certificate, None)?)
}

fn at(plan: &ThingPlan, reason: ReasonCode, property: &str, message: String) -> Cause {
    Cause::at(reason, &plan.logical_name, property, message)
}

fn conflict(plan: &ThingPlan, property: &str, what: &str) -> Cause {
    let ThingPlan { name, logical_name, .. } = plan;
    let message =
        format!("the thing {name} exists with {what} and the override says FAIL: change one of them");
    Cause::at(ReasonCode::ResourceConflict, logical_name, &format!("OverrideSettings.{property}"), message)
}

/// An error of the registry, placed in the template; the registry's own failures have no place there.
fn placed(error: RegistryError, resource: &str, property: &str) -> Cause {
    let cause = Cause::from(error);
    if cause.reason.is_server_error() {
        return cause;
    }
    Cause::at(cause.reason, resource, property, cause.message)
}

//! What another version of a template would have decided: the attempts of late, evaluated again. Nothing is written.
use crate::admission::apply::apply;
use crate::admission::cause::Cause;
use crate::admission::parameters;
use crate::attempt::{Attempt, AttemptFilter, Outcome};
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::names::{CertificateId, TemplateName};
use crate::provisioner::Provisioner;
use crate::reason::ReasonCode;
use crate::records::{
    CertificateRecord, CertificateStatus, TemplateRecord, TemplateType, TemplateVersionRecord,
};
use crate::registry::templates;
use jitp_certs::Certificate;
use jitp_templates::{Parameters, Plan, Template};
use std::collections::BTreeMap;

/// Most attempts looked at for one page.
const MOST_LOOKED_AT: usize = 1_000;

/// Which attempts to evaluate again, and with what.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// The template.
    pub template: TemplateName,
    /// Its version that is tried.
    pub version: u32,
    /// Only attempts from then on.
    pub since: Timestamp,
    /// Only attempts with a smaller sequence: the `next_before` of the page before.
    pub before: Option<u64>,
    /// Attempts to look at, 1 to 1000.
    pub limit: usize,
}

/// A page of a replay, newest attempt first.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayPage {
    /// Attempts of this page that the template had decided.
    pub compared: usize,
    /// Those that would have been decided otherwise.
    pub differences: Vec<Difference>,
    /// Where the next page begins; `None`: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// An attempt that would have been decided otherwise.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Difference {
    pub sequence: u64,
    pub timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<CertificateId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The version that decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_version: Option<u32>,
    /// What differs: at least one.
    pub changes: Vec<ChangedDecision>,
    /// Why this may not be what would have happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertain: Option<String>,
}

/// One part of a decision, then and now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedDecision {
    /// `outcome`, `reason`, `message`, `thingName`, `thingType`, `thingGroups`, `billingGroup`, `policies`, `status`, or
    /// `attributes.NAME`.
    pub what: String,
    /// `None`: there was none.
    pub was: Option<String>,
    /// `None`: there would be none.
    pub would_be: Option<String>,
}

/// What a run decides, in words that can be compared. A part that is not known is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    parts: BTreeMap<String, Option<String>>,
    /// All of the plan is known.
    whole: bool,
}

impl Decision {
    /// As the attempt log has it, with the plan of the version that decided, if that can be had.
    fn recorded(attempt: &Attempt, plan: Option<&Plan>) -> Self {
        let mut decision = Self::of(attempt.outcome, attempt.reason, plan);
        if attempt.outcome == Outcome::Provisioned && plan.is_none() {
            let thing = attempt.thing_name.as_ref().map(ToString::to_string);
            decision.parts.insert("thingName".into(), thing);
            decision.whole = false;
        }
        decision
    }
    /// A plan that is carried out, or why there is none.
    fn of(outcome: Outcome, reason: ReasonCode, plan: Option<&Plan>) -> Self {
        let provisioned = outcome == Outcome::Provisioned;
        let text = if provisioned { "provisioned" } else { "refused" };
        let mut parts = BTreeMap::from([("outcome".to_owned(), Some(text.to_owned()))]);
        if !provisioned {
            parts.insert("reason".into(), Some(reason.to_string()));
        }
        if let Some(plan) = plan.filter(|_| provisioned) {
            parts.extend(described(plan));
        }
        Self { parts, whole: true }
    }
}

/// What differs between what was decided and what would be. Parts of a plan count only where both know them.
pub(crate) fn differences(was: &Decision, would_be: &Decision) -> Vec<ChangedDecision> {
    let both = was.whole && would_be.whole;
    let names: std::collections::BTreeSet<&String> = was.parts.keys().chain(would_be.parts.keys()).collect();
    let provisioned = |decision: &Decision| !decision.parts.contains_key("reason");
    names
        .into_iter()
        // Of a device that is let in only once, all of the plan is news: it is enough to say so.
        .filter(|name| {
            provisioned(was) == provisioned(would_be)
                || matches!(name.as_str(), "outcome" | "reason" | "thingName")
        })
        .filter(|name| {
            both || (was.parts.contains_key(*name) && would_be.parts.contains_key(*name)) || *name == "reason"
        })
        .filter_map(|name| {
            let part = |decision: &Decision| decision.parts.get(name).cloned().flatten();
            let (was, would_be) = (part(was), part(would_be));
            (was != would_be).then(|| ChangedDecision { what: name.clone(), was, would_be })
        })
        .collect()
}

/// The parts of a plan.
fn described(plan: &Plan) -> BTreeMap<String, Option<String>> {
    let mut parts = BTreeMap::new();
    if let Some(thing) = &plan.thing {
        parts.insert("thingName".into(), Some(thing.name.to_string()));
        parts.insert("thingType".into(), thing.thing_type.as_ref().map(ToString::to_string));
        parts.insert("billingGroup".into(), thing.billing_group.as_ref().map(ToString::to_string));
        let groups = thing.groups.as_ref().map(|groups| joined(groups.iter().map(ToString::to_string)));
        parts.insert("thingGroups".into(), groups);
        for (name, value) in thing.attributes.iter().flatten() {
            parts.insert(format!("attributes.{name}"), Some(value.to_string()));
        }
    }
    if let Some(certificate) = &plan.certificate {
        let status = match certificate.status {
            Some(jitp_templates::CertificateStatus::Inactive) => "INACTIVE",
            _ => "ACTIVE",
        };
        parts.insert("status".into(), Some(status.into()));
    }
    let policies = joined(plan.policies.iter().map(|policy| policy.name.to_string()));
    parts.insert("policies".into(), Some(policies));
    parts
}

fn joined(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.join(", ")
}

impl Provisioner {
    /// What a version of a template would have decided for the attempts that any of its versions decided.
    ///
    /// The values are those of the certificate where it is still registered, else those that the attempt recorded. A device
    /// that was provisioned is only evaluated; one that was refused is also tried on the registry as it is now.
    ///
    /// # Errors
    /// `NotFound` if there is no such template or version.
    pub async fn replay(&self, request: &ReplayRequest) -> Result<ReplayPage, RegistryError> {
        let registry = self.registry();
        let record: TemplateRecord = registry.begin().require(&request.template).await?;
        let mut versions = Versions { provisioner: self, record, parsed: BTreeMap::new() };
        registry.template_version(&request.template, request.version).await?;
        let Some(candidate) = versions.get(request.version).await? else {
            return Err(RegistryError::InvalidRequest(format!(
                "version {} of provisioning template {} does not validate any more: try another",
                request.version, request.template
            )));
        };
        let limit = request.limit.clamp(1, MOST_LOOKED_AT);
        let filter = AttemptFilter { since: Some(request.since), ..AttemptFilter::default() };
        let attempts = self.attempts(&filter, request.before, limit).await?;
        let next_before = attempts.last().filter(|_| attempts.len() == limit).map(|last| last.sequence);
        let mut page = ReplayPage { compared: 0, differences: Vec::new(), next_before };
        for attempt in attempts.iter().filter(|a| a.template_name.as_ref() == Some(&request.template)) {
            page.compared += 1;
            let recorded = match attempt.template_version {
                Some(version) => versions.get(version).await?,
                None => None,
            };
            let values = self.values(attempt, versions.record.template_type).await?;
            let was = recorded.as_ref().and_then(|template| template.evaluate(&values.values).ok());
            let was = Decision::recorded(attempt, was.as_ref());
            let would_be = self.would_be(attempt, &candidate, &values).await?;
            let changes = differences(&was, &would_be);
            if !changes.is_empty() {
                page.differences.push(Difference {
                    sequence: attempt.sequence,
                    timestamp: attempt.timestamp,
                    certificate_id: attempt.certificate_id,
                    subject: attempt.subject.clone(),
                    template_version: attempt.template_version,
                    changes,
                    uncertain: values.uncertain(&candidate),
                });
            }
        }
        Ok(page)
    }

    async fn values(&self, attempt: &Attempt, kind: TemplateType) -> Result<Values, RegistryError> {
        let mut values = Values { values: attempt.parameters.clone(), record: None };
        let Some(id) = attempt.certificate_id else { return Ok(values) };
        values.record = self.registry().begin().get::<CertificateRecord>(&id).await?;
        if kind == TemplateType::Jitp
            && let Some(record) = &values.record
            && let Ok(leaf) = Certificate::from_der(&record.der)
        {
            values.values.extend(parameters::bind(&leaf, self.options().jitp_serial_fallback));
        }
        Ok(values)
    }

    async fn would_be(
        &self,
        attempt: &Attempt,
        candidate: &Template,
        values: &Values,
    ) -> Result<Decision, RegistryError> {
        let plan = match candidate.evaluate(&values.values) {
            Ok(plan) => plan,
            Err(error) => return Ok(Decision::of(Outcome::Refused, Cause::from(error).reason, None)),
        };
        let provisioned = Decision::of(Outcome::Provisioned, ReasonCode::Provisioned, Some(&plan));
        let (Outcome::Refused, Some(record)) = (attempt.outcome, &values.record) else {
            return Ok(provisioned);
        };
        if record.status == CertificateStatus::Revoked {
            return Ok(provisioned);
        }
        // As it was then: waiting. Dropped, so that nothing is written.
        let mut tx = self.registry().begin();
        let waiting = CertificateRecord { status: CertificateStatus::PendingActivation, ..record.clone() };
        match apply(&mut tx, &plan, waiting).await {
            Ok(_) => Ok(provisioned),
            Err(cause) if cause.reason == ReasonCode::RegistryUnavailable => {
                Err(RegistryError::Unavailable(cause.message))
            }
            Err(cause) => Ok(Decision::of(Outcome::Refused, cause.reason, None)),
        }
    }
}

/// What is known of a device.
struct Values {
    values: Parameters,
    record: Option<CertificateRecord>,
}

impl Values {
    fn uncertain(&self, candidate: &Template) -> Option<String> {
        let lacks: Vec<&str> = candidate.needs().filter(|name| !self.values.contains_key(*name)).collect();
        (self.record.is_none() && !lacks.is_empty()).then(|| {
            format!(
                "the certificate is not registered any more, and the attempt did not record {}",
                lacks.join(", ")
            )
        })
    }
}

/// Versions of the template, parsed once each.
struct Versions<'p> {
    provisioner: &'p Provisioner,
    record: TemplateRecord,
    parsed: BTreeMap<u32, Option<std::sync::Arc<Template>>>,
}

impl Versions<'_> {
    /// `None`: it is gone, or does not validate.
    async fn get(&mut self, version: u32) -> Result<Option<std::sync::Arc<Template>>, RegistryError> {
        if let Some(known) = self.parsed.get(&version) {
            return Ok(known.clone());
        }
        let registry = self.provisioner.registry();
        let id = (self.record.name.clone(), version);
        let stored: Option<TemplateVersionRecord> = registry.begin().get(&id).await?;
        let parsed = stored.and_then(|stored| {
            templates::parse(registry.options(), self.record.template_type, &stored.body).ok()
        });
        let parsed = parsed.map(std::sync::Arc::new);
        self.parsed.insert(version, parsed.clone());
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(whole: bool, parts: &[(&str, &str)]) -> Decision {
        let parts =
            parts.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        Decision { parts, whole }
    }
    fn told(was: &Decision, would_be: &Decision) -> Vec<String> {
        let text = |part: Option<String>| part.unwrap_or_else(|| "-".into());
        differences(was, would_be)
            .into_iter()
            .map(|change| format!("{} {} → {}", change.what, text(change.was), text(change.would_be)))
            .collect()
    }

    #[test]
    fn only_what_differs_is_told() {
        let pump =
            decision(true, &[("outcome", "provisioned"), ("thingName", "pump-1"), ("attributes.line", "7")]);
        assert_eq!(told(&pump, &pump), Vec::<String>::new());
        let other =
            decision(true, &[("outcome", "provisioned"), ("thingName", "PUMP-1"), ("attributes.floor", "2")]);
        assert_eq!(
            told(&pump, &other),
            ["attributes.floor - → 2", "attributes.line 7 → -", "thingName pump-1 → PUMP-1"]
        );
    }

    #[test]
    fn of_a_device_that_is_let_in_only_once_the_outcome_the_reason_and_the_name_are_told() {
        let pump =
            decision(true, &[("outcome", "provisioned"), ("thingName", "pump-1"), ("attributes.line", "7")]);
        let refused = decision(true, &[("outcome", "refused"), ("reason", "MISSING")]);
        assert_eq!(
            told(&pump, &refused),
            ["outcome provisioned → refused", "reason - → MISSING", "thingName pump-1 → -"]
        );
        assert_eq!(
            told(&refused, &pump),
            ["outcome refused → provisioned", "reason MISSING → -", "thingName - → pump-1"]
        );
        let otherwise = decision(true, &[("outcome", "refused"), ("reason", "OTHER")]);
        assert_eq!(told(&refused, &otherwise), ["reason MISSING → OTHER"]);
    }

    #[test]
    fn what_is_not_known_of_a_deleted_version_is_not_told() {
        let was = decision(false, &[("outcome", "provisioned"), ("thingName", "pump-1")]);
        let would_be =
            decision(true, &[("outcome", "provisioned"), ("thingName", "pump-2"), ("policies", "device")]);
        assert_eq!(told(&was, &would_be), ["thingName pump-1 → pump-2"]);
    }
}

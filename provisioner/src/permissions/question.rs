//! TestAuthorization: what would be allowed, by which policies, and what is missing to tell
//! (`spec/control-plane.md` section 7).
use super::certificate_fields::certificate_fields;
use super::connection_thing::{ConnectionThing, connection_thing};
use super::documents::Documents;
use super::policies_of_groups;
use crate::error::RegistryError;
use crate::names::{CertificateId, PolicyName};
use crate::records::{CertificateRecord, PolicyRecord, PolicyTarget};
use crate::registry::policy_attachments;
use crate::stored::Stored;
use crate::tx::Tx;
use jitp_certs::Certificate;
use jitp_policies::{Action, AttachedPolicy, Context, Decision, Permissions, Scope, ThingContext};
use std::collections::BTreeSet;

/// Who asks, and for what. The connection that is imagined has a client id and a certificate if they are given; it has no
/// address, no host name, no last will, and asks for no persistent session.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct AuthorizationQuestion {
    pub principal: Option<CertificateId>,
    pub client_id: Option<String>,
    /// Policies that would be attached.
    pub add: Vec<PolicyName>,
    /// Policies that would not.
    pub skip: Vec<PolicyName>,
    pub requests: Vec<AuthorizationRequest>,
}
/// One action on some resources.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AuthorizationRequest {
    pub action: Action,
    /// What follows the kind in the resource's ARN: client id, topic or filter.
    pub names: Vec<String>,
}
/// The answer to one request. It is allowed when every resource is allowed, and explicitly denied when one is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AuthorizationAnswer {
    pub allowed: bool,
    /// Policies that allow every resource.
    pub allowed_by: Vec<PolicyName>,
    /// Policies that say nothing about some resource.
    pub silent: Vec<PolicyName>,
    /// Policies that deny some resource.
    pub denied_by: Vec<PolicyName>,
    /// Variables and keys that the policies refer to and that have no value, by name.
    pub missing: Vec<String>,
}

/// Answers every request.
pub(crate) async fn answer(
    tx: &mut Tx,
    documents: &Documents,
    question: &AuthorizationQuestion,
) -> Result<Vec<AuthorizationAnswer>, RegistryError> {
    let certificate = match question.principal {
        Some(id) => Some(certificate(tx, id).await?),
        None => None,
    };
    let thing = match (&question.client_id, question.principal) {
        (client_id, Some(id)) => connection_thing(tx, id, client_id.as_deref().unwrap_or_default()).await?,
        _ => ConnectionThing::default(),
    };
    let mut policies = Vec::new();
    for name in applicable(tx, question, &thing).await? {
        let policy = documents.default_version(tx, &name).await?;
        policies.push((name.clone(), policy.ok_or_else(|| PolicyRecord::not_found(&name))?));
    }
    let scope = Scope { region: tx.options().region.clone(), account: tx.options().account.clone() };
    let resolves = thing.attached || !tx.options().thing_vars_require_attachment;
    let context = Context {
        client_id: question.client_id.clone(),
        certificate_id: question.principal.map(|id| id.to_string()),
        certificate_serial_number: certificate.as_ref().map(|c| c.serial_number().to_owned()),
        certificate_fields: certificate.as_ref().map(certificate_fields).unwrap_or_default(),
        thing: thing.record.filter(|_| resolves).map(|record| ThingContext {
            name: record.name.to_string(),
            thing_type: record.thing_type.map(|name| name.to_string()),
            attributes: record.attributes.into_iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        }),
        thing_is_attached: thing.attached,
        ..Context::default()
    };
    let compile = |policies: &[AttachedPolicy]| Permissions::compile(policies, &scope, &context);
    let all: Vec<AttachedPolicy> = policies.iter().map(|(_, policy)| policy.clone()).collect();
    let together = compile(&all);
    let each: Vec<(PolicyName, Permissions)> =
        policies.into_iter().map(|(name, policy)| (name, compile(std::slice::from_ref(&policy)))).collect();
    Ok(question.requests.iter().map(|request| judge(request, &together, &each)).collect())
}

fn judge(
    request: &AuthorizationRequest,
    together: &Permissions,
    each: &[(PolicyName, Permissions)],
) -> AuthorizationAnswer {
    let mut answer = AuthorizationAnswer {
        allowed: request.names.iter().all(|name| together.decide(request.action, name).is_allowed()),
        allowed_by: Vec::new(),
        silent: Vec::new(),
        denied_by: Vec::new(),
        missing: together.missing_values(request.action),
    };
    for (policy, alone) in each {
        let decisions: Vec<_> = request.names.iter().map(|name| alone.decide(request.action, name)).collect();
        if decisions.iter().any(|decision| matches!(decision, Decision::Denied { .. })) {
            answer.denied_by.push(policy.clone());
        } else if decisions.iter().all(Decision::is_allowed) {
            answer.allowed_by.push(policy.clone());
        } else {
            answer.silent.push(policy.clone());
        }
    }
    answer
}

async fn certificate(tx: &mut Tx, id: CertificateId) -> Result<Certificate, RegistryError> {
    let record: CertificateRecord = tx.require(&id).await?;
    record.parsed()
}

async fn applicable(
    tx: &mut Tx,
    question: &AuthorizationQuestion,
    thing: &ConnectionThing,
) -> Result<BTreeSet<PolicyName>, RegistryError> {
    let mut names: BTreeSet<PolicyName> = question.add.iter().cloned().collect();
    if let Some(id) = question.principal {
        names.extend(policy_attachments::policies_of(tx, &PolicyTarget::Certificate(id)).await?);
    }
    if let (true, Some(record)) = (thing.attached, &thing.record) {
        names.extend(policies_of_groups(tx, &record.name).await?.0);
    }
    for skipped in &question.skip {
        names.remove(skipped);
    }
    Ok(names)
}

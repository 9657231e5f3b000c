//! Provisioning claims: short-lived certificates that a trusted user asks for and hands to a device, which gets its own with
//! it (`spec/fleet-provisioning.md` section 6).
//!
//! A claim is no device certificate: it is neither listed nor described, has no policies but an implicit one, and is unknown
//! when its time is over.
use super::expiring::{self, Expiring};
use super::{DeviceKeys, IssuingError};
use crate::admission::{Principal, Seen};
use crate::change::{Change, Dependency};
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::names::{CertificateId, TemplateName};
use crate::permissions::{ConnectContext, Granted};
use crate::provisioner::Provisioner;
use crate::records::{CertificateStatus, TemplateRecord, TemplateType};
use crate::store::Revision;
use crate::stored::stored_by_id;
use crate::transact::transact;
use crate::tx::Tx;
use jitp_certs::Certificate;
use jitp_policies::{AttachedPolicy, Context, Document, Permissions, Scope};
use std::sync::Arc;

/// A claim's certificate itself ends so many seconds after the claim. Until then a late device hears that its certificate is
/// unknown, which the end of a claim means.
const CERTIFICATE_OUTLIVES: i64 = 24 * 3600;

/// A claim that a connection was made with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvisioningClaim {
    /// The id of its certificate.
    pub certificate_id: CertificateId,
    /// The only template that it may provision by.
    pub template: TemplateName,
    /// When it was created.
    pub created_at: Timestamp,
    /// No connection is made with it from here on.
    pub expires_at: Timestamp,
    /// Connections that were made with it before are closed here.
    pub closes_at: Timestamp,
}

/// A new claim, and the only copy of its key.
#[derive(Debug)]
pub struct IssuedClaim {
    /// What it is for, and until when.
    pub claim: ProvisioningClaim,
    /// Its certificate.
    pub certificate_pem: String,
    /// Its keys.
    pub keys: DeviceKeys,
}

impl Provisioner {
    /// CreateProvisioningClaim: a certificate by the issuing CA for a device that shall be provisioned by this template.
    ///
    /// # Errors
    /// `Registry`: `NotFound` if there is no such template, `InvalidRequest` if it is not of type FLEET_PROVISIONING; else as
    /// [`Self::create_keys_and_certificate`].
    pub async fn create_provisioning_claim(
        &self,
        template: &TemplateName,
    ) -> Result<IssuedClaim, IssuingError> {
        check_template(&mut self.registry().begin(), template).await?;
        let (issuing, options) = (&self.inner.issuing, &self.options().issuing);
        let keys = issuing.keys().take().await?;
        let now = self.clock().now();
        let expires_at = Timestamp(now.0.saturating_add(expiring::millis(options.claim_lifetime)));
        let not_after = expires_at.unix_seconds().saturating_add(CERTIFICATE_OUTLIVES);
        let certificate = issuing.issue_own(keys.request.clone(), now, not_after).await?;
        let claim = ProvisioningClaim {
            certificate_id: certificate.id(),
            template: template.clone(),
            created_at: now,
            expires_at,
            closes_at: Timestamp(expires_at.0.saturating_add(expiring::millis(options.claim_grace))),
        };
        transact!(self.registry(), |tx| register(tx, &claim))?;
        Ok(IssuedClaim { claim, certificate_pem: certificate.to_pem(), keys })
    }
}

async fn register(tx: &mut Tx, claim: &ProvisioningClaim) -> Result<(), RegistryError> {
    check_template(tx, &claim.template).await?;
    expiring::enter(tx, claim.closes_at, claim.certificate_id, Expiring::Claim);
    tx.made("certificateId", claim.certificate_id);
    tx.put(claim)
}

async fn check_template(tx: &mut Tx, name: &TemplateName) -> Result<(), RegistryError> {
    let template: TemplateRecord = tx.require(name).await?;
    match template.template_type {
        TemplateType::FleetProvisioning => Ok(()),
        TemplateType::Jitp => Err(RegistryError::InvalidRequest(format!(
            "template {name} is of type JITP: claims are for templates of type FLEET_PROVISIONING"
        ))),
    }
}

/// Lets a claim in while it lasts. `None`: the certificate is no claim (any more).
pub(crate) async fn admit(
    tx: &mut Tx,
    leaf: &Certificate,
    as_of: Revision,
) -> Result<Option<Principal>, RegistryError> {
    let claim: Option<ProvisioningClaim> = tx.get(&leaf.id()).await?;
    let Some(claim) = claim.filter(|claim| tx.now() < claim.expires_at) else { return Ok(None) };
    Ok(Some(Principal {
        certificate: leaf.clone(),
        ca_certificate_id: None,
        provisioned_now: false,
        exclusive_thing: None,
        as_of,
        claim: Some(Arc::new(claim)),
        seen: Seen::default(),
    }))
}

/// May a connection of this claim go on?
pub(crate) async fn still_connects(tx: &mut Tx, id: CertificateId) -> Result<bool, RegistryError> {
    let claim: Option<ProvisioningClaim> = tx.get(&id).await?;
    Ok(claim.is_some_and(|claim| tx.now() < claim.closes_at))
}

/// Deletes a claim; connections that are still open end.
pub(crate) async fn delete(tx: &mut Tx, id: CertificateId) -> Result<(), RegistryError> {
    if tx.exists::<ProvisioningClaim>(&id).await? {
        tx.delete::<ProvisioningClaim>(&id);
        let from = Some(CertificateStatus::Active);
        tx.record(Change::Certificate { certificate_id: id, from, to: None });
    }
    Ok(())
}

/// The implicit policy of a claim: any client id, the topics that create certificates, and those of its template.
pub(crate) fn grant(
    tx: &Tx,
    certificate: &Certificate,
    claim: &ProvisioningClaim,
    connect: &ConnectContext,
) -> Result<Granted, RegistryError> {
    let scope = Scope { region: tx.options().region.clone(), account: tx.options().account.clone() };
    let document = Document::parse(&policy(&claim.template)).map_err(|error| {
        RegistryError::Internal(format!(
            "the implicit policy of a provisioning claim cannot be read: {error}"
        ))
    })?;
    let policy =
        AttachedPolicy { name: "(provisioning claim)".into(), version: 1, document: Arc::new(document) };
    let context = Context {
        client_id: Some(connect.client_id.to_string()),
        source_ip: Some(connect.source_ip),
        domain_name: connect.server_name.as_deref().map(str::to_owned),
        certificate_id: Some(certificate.id().to_string()),
        persistent_connect: connect.persistent,
        last_will_topic: connect.will_topic.as_deref().map(str::to_owned),
        ..Context::default()
    };
    Ok(Granted {
        permissions: Permissions::compile(&[policy], &scope, &context),
        depends_on: vec![Dependency::Certificate(certificate.id())],
    })
}

fn policy(template: &TemplateName) -> String {
    let topics = [
        "$aws/certificates/create/*".to_owned(),
        "$aws/certificates/create-from-csr/*".to_owned(),
        format!("$aws/provisioning-templates/{template}/provision/*"),
    ];
    let resources = |kind: &str| -> Vec<String> {
        topics.iter().map(|topic| format!("arn:aws:iot:*:*:{kind}/{topic}")).collect()
    };
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/*"},
            {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": resources("topic")},
            {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": resources("topicfilter")},
        ],
    })
    .to_string()
}

stored_by_id!(ProvisioningClaim, Claims, "provisioning claim", certificate_id);

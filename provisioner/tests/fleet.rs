//! RegisterThing of fleet provisioning: token, template, hook, run, answer, in that order, and what each refusal leaves.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use async_trait::async_trait;
use jitp_certs::KeyKind;
use jitp_provisioner::fleet::{
    FleetError, FleetOperation, FleetRates, FleetRefusal, RegisterDevice, RegisteredDevice,
};
use jitp_provisioner::issuing::IssuingOptions;
use jitp_provisioner::names::{CertificateId, TemplateName, ThingName};
use jitp_provisioner::records::{CertificateStatus, PolicyTarget, ProvisioningHook, TemplateType};
use jitp_provisioner::registry::{CreateTemplate, CreateThing, UpdateTemplate};
use jitp_provisioner::{
    Attempt, AttemptFilter, AttemptKind, Callback, Callbacks, Clock, Options, Outcome, ReasonCode,
    RegistryError,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::*;
use tokio::sync::Notify;

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:stock";
const CLAIM: CertificateId = CertificateId::from_bytes([0xc1; 32]);

/// Gives the answer that it was told to, and keeps what it was asked.
#[derive(Default)]
struct Hook {
    answer: Mutex<Value>,
    asked: Mutex<Vec<Value>>,
    /// Asked, and may go on.
    gate: Option<(Notify, Notify)>,
}

#[async_trait]
impl Callback for Hook {
    async fn call(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        self.asked.lock().unwrap().push(serde_json::from_slice(question).unwrap());
        if let Some((asked, go_on)) = &self.gate {
            asked.notify_one();
            go_on.notified().await;
        }
        match &*self.answer.lock().unwrap() {
            Value::Null => Err("it answered HTTP 500".into()),
            answer => Ok(answer.to_string().into_bytes()),
        }
    }
}

fn options(hook: Arc<Hook>) -> Options {
    Options {
        issuing: IssuingOptions { keys: KeyKind::EcP256, ..IssuingOptions::default() },
        callbacks: Callbacks::default().with(ARN, hook, 1),
        ..Options::default()
    }
}

async fn site() -> Site {
    Site::with(options(Arc::default())).await
}

fn body() -> Value {
    json!({
        "Parameters": { "Serial": { "Type": "String" }, "Site": { "Type": "String", "Default": "lab" } },
        "Resources": {
            "thing": { "Type": "AWS::IoT::Thing", "Properties": {
                "ThingName": { "Fn::Join": ["", ["pump-", { "Ref": "Serial" }]] },
                "AttributePayload": { "site": { "Ref": "Site" } } } },
            "certificate": { "Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }, "Status": "Active" } },
            "policy": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{ "Effect": "Allow", "Action": "iot:Connect", "Resource": "*" }] } } }
        },
        "DeviceConfiguration": { "interval": "30", "serial": { "Ref": "Serial" } }
    })
}

fn name(text: &str) -> TemplateName {
    TemplateName::new(text).unwrap()
}

async fn template(site: &Site, called: &str, body: &Value, hook: bool) {
    let create = CreateTemplate {
        name: name(called),
        template_type: TemplateType::FleetProvisioning,
        body: body.to_string(),
        description: None,
        enabled: true,
        role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
        hook: hook.then(|| ProvisioningHook { payload_version: "2020-04-01".into(), target_arn: ARN.into() }),
        tags: Default::default(),
    };
    site.registry().create_template(create).await.unwrap();
}

/// A pending certificate and its token.
async fn pending(site: &Site) -> (CertificateId, String) {
    let now = site.clock.now();
    let made = site.provisioner.create_pending_keys_and_certificate(CLAIM, "boot-1", now).await.unwrap();
    (made.certificate.certificate_id, made.certificate.ownership_token.expose().to_owned())
}

async fn register_with(
    site: &Site,
    template: &str,
    token: &str,
    parameters: &[(&str, &str)],
) -> Result<RegisteredDevice, FleetRefusal> {
    let request = RegisterDevice {
        template,
        ownership_token: token,
        parameters: parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        claim: CLAIM,
        client_id: "boot-1",
        source: SOURCE,
    };
    site.provisioner.register_device(&request).await
}

async fn register(site: &Site, token: &str) -> Result<RegisteredDevice, FleetRefusal> {
    register_with(site, "pumps", token, &[("Serial", "1")]).await
}

async fn status(site: &Site, id: CertificateId) -> CertificateStatus {
    site.registry().certificate(id).await.unwrap().status
}

/// The newest attempt of kind fleet with this reason.
async fn attempt(site: &Site, reason: ReasonCode) -> Attempt {
    let filter = AttemptFilter { reason: Some(reason), ..AttemptFilter::default() };
    loop {
        let before = site.provisioner.changes().latest();
        let mut attempts = site.provisioner.attempts(&filter, None, 1).await.unwrap();
        if let Some(attempt) = attempts.pop() {
            assert_eq!((attempt.kind, attempt.claim_certificate_id), (AttemptKind::Fleet, Some(CLAIM)));
            return attempt;
        }
        site.provisioner.changes().beyond(before).await;
    }
}

#[tokio::test]
async fn a_device_with_a_token_becomes_what_the_template_says_in_one_commit() {
    let site = site().await;
    template(&site, "pumps", &body(), false).await;
    let (id, token) = pending(&site).await;
    assert_eq!(status(&site, id).await, CertificateStatus::PendingActivation);
    let before = site.provisioner.changes().latest();
    let device = register(&site, &token).await.unwrap();
    assert_eq!(device.thing_name, Some(ThingName::new("pump-1").unwrap()));
    assert_eq!(json!(device.device_configuration), json!({ "interval": "30", "serial": "1" }));
    assert_eq!(status(&site, id).await, CertificateStatus::Active);
    let thing = site.registry().thing(&ThingName::new("pump-1").unwrap()).await.unwrap();
    assert_eq!(json!(thing.attributes), json!({ "site": "lab" }));
    let target = PolicyTarget::Certificate(id);
    let policies = site.registry().list_attached_policies(&target, &all()).await.unwrap();
    assert_eq!(policies.items.len(), 1);
    let changes = site.provisioner.changes().since(before, 100).await.unwrap();
    assert!(changes.windows(2).all(|two| two[0].revision == two[1].revision), "{changes:?}");

    let attempt = attempt(&site, ReasonCode::Provisioned).await;
    assert_eq!(attempt.outcome, Outcome::Provisioned);
    assert_eq!((attempt.certificate_id, attempt.template_version), (Some(id), Some(1)));
    assert_eq!(attempt.template_name, Some(name("pumps")));
    assert_eq!((attempt.client_id.as_deref(), &*attempt.source_ip), (Some("boot-1"), "10.1.2.3"));
    let id = id.to_string();
    assert_eq!(json!(attempt.parameters), json!({ "Serial": "1", "AWS::IoT::Certificate::Id": id }));
    assert!(!serde_json::to_string(&attempt).unwrap().contains(&token));
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_without_a_second_run_also_after_a_restart() {
    let hook = Arc::new(Hook { answer: json!({ "allowProvisioning": true }).into(), ..Hook::default() });
    let site = Site::with(options(hook.clone())).await;
    template(&site, "pumps", &body(), true).await;
    template(&site, "valves", &body(), false).await;
    let (id, token) = pending(&site).await;
    let first = register(&site, &token).await.unwrap();
    // Whatever has become of it since.
    site.registry().update_certificate(id, CertificateStatus::Inactive).await.unwrap();
    let update = UpdateTemplate { enabled: Some(false), ..UpdateTemplate::default() };
    site.registry().update_template(&name("pumps"), update).await.unwrap();
    let site = site.reopened(options(hook.clone())).await;
    let before = site.provisioner.changes().latest();
    assert_eq!(register_with(&site, "pumps", &token, &[("Serial", "another")]).await.unwrap(), first);
    assert_eq!(site.provisioner.changes().latest(), before, "nothing was written");
    assert_eq!(status(&site, id).await, CertificateStatus::Inactive);
    assert_eq!(hook.asked.lock().unwrap().len(), 1);
    // With another template it is no token.
    let refusal = register_with(&site, "valves", &token, &[("Serial", "1")]).await.unwrap_err();
    assert_eq!(refusal.error, FleetError::InvalidCertificateOwnershipToken);
    assert!(refusal.message.contains("pumps"), "{}", refusal.message);
}

#[tokio::test]
async fn what_is_wrong_is_answered_as_the_table_says_and_leaves_token_and_certificate_usable() {
    let site = site().await;
    template(&site, "pumps", &body(), false).await;
    let mut with_group = body();
    with_group["Resources"]["thing"]["Properties"]["ThingGroups"] = json!(["absent"]);
    template(&site, "group", &with_group, false).await;
    let mut with_policy = body();
    with_policy["Resources"]["policy"]["Properties"] = json!({ "PolicyName": "absent" });
    template(&site, "policy", &with_policy, false).await;
    let mut strict = body();
    strict["Resources"]["thing"]["OverrideSettings"] = json!({ "AttributePayload": "FAIL" });
    template(&site, "strict", &strict, false).await;
    template(&site, "off", &body(), false).await;
    let update = UpdateTemplate { enabled: Some(false), ..UpdateTemplate::default() };
    site.registry().update_template(&name("off"), update).await.unwrap();
    let jitp = CreateTemplate {
        name: name("jitp"),
        template_type: TemplateType::Jitp,
        body: plain(),
        description: None,
        enabled: true,
        role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
        hook: None,
        tags: Default::default(),
    };
    site.registry().create_template(jitp).await.unwrap();
    let taken = ThingName::new("pump-taken").unwrap();
    site.registry().create_thing(taken, CreateThing::default()).await.unwrap();

    let (id, token) = pending(&site).await;
    let long = "x".repeat(4097);
    let valid = [("Serial", "1")];
    let mut altered = token.clone().into_bytes();
    altered[40] ^= 1;
    let altered = String::from_utf8(altered).unwrap();
    use FleetError::*;
    use ReasonCode as R;
    for (template, token, parameters, error, reason) in [
        ("pumps", "", &valid[..], InvalidCertificateOwnershipToken, R::OwnershipTokenInvalid),
        ("pumps", "made up", &valid, InvalidCertificateOwnershipToken, R::OwnershipTokenInvalid),
        ("pumps", &altered, &valid, InvalidCertificateOwnershipToken, R::OwnershipTokenInvalid),
        // The token comes first, whatever else is wrong.
        ("absent", "", &valid, InvalidCertificateOwnershipToken, R::OwnershipTokenInvalid),
        ("absent", &token, &valid, ResourceNotFound, R::TemplateNotFound),
        ("a b", &token, &valid, ResourceNotFound, R::TemplateNotFound),
        ("jitp", &token, &valid, ResourceNotFound, R::TemplateNotFound),
        ("off", &token, &valid, AccessDenied, R::TemplateDisabled),
        ("pumps", &token, &[], InvalidParameters, R::MissingParameter),
        ("pumps", &token, &[("Serial", "a b")], InvalidParameters, R::InvalidValue),
        ("pumps", &token, &[("Serial", "1"), ("Other", &long)], InvalidParameters, R::InvalidValue),
        ("group", &token, &valid, ResourceRegistrationFailure, R::ThingGroupNotFound),
        ("policy", &token, &valid, ResourceRegistrationFailure, R::PolicyNotFound),
        ("strict", &token, &[("Serial", "taken")], ConflictingResourceUpdate, R::ResourceConflict),
    ] {
        let refusal = register_with(&site, template, token, parameters).await.unwrap_err();
        assert_eq!(refusal.error, error, "{template}: {refusal:?}");
        let attempt = attempt(&site, reason).await;
        assert_eq!(attempt.outcome, Outcome::Refused);
        assert!(!attempt.message.is_empty() && !attempt.message.contains(token) | token.is_empty());
    }
    assert!(site.registry().thing(&ThingName::new("pump-1").unwrap()).await.is_err());
    assert_eq!(status(&site, id).await, CertificateStatus::PendingActivation);
    assert!(register(&site, &token).await.is_ok());
}

#[tokio::test]
async fn a_token_ends_after_an_hour_and_takes_with_it_what_nobody_provisioned_and_what_was_answered() {
    let site = site().await;
    template(&site, "pumps", &body(), false).await;
    let (used, used_token) = pending(&site).await;
    let (unused, unused_token) = pending(&site).await;
    register(&site, &used_token).await.unwrap();
    site.pass(3_599_999);
    assert!(register(&site, &used_token).await.is_ok());
    site.pass(1);
    assert_eq!(site.provisioner.collect_expired().await.unwrap(), 1);
    for token in [&used_token, &unused_token] {
        let refusal = register(&site, token).await.unwrap_err();
        assert_eq!(refusal.message, "Certificate ownership token has expired.");
    }
    assert_eq!(status(&site, used).await, CertificateStatus::Active);
    assert!(matches!(site.registry().certificate(unused).await, Err(RegistryError::NotFound { .. })));
}

#[tokio::test]
async fn a_device_cannot_say_what_the_broker_says() {
    let site = site().await;
    template(&site, "pumps", &body(), false).await;
    let (other, _) = pending(&site).await;
    let (id, token) = pending(&site).await;
    let pretended = other.to_string();
    let parameters = [("Serial", "1"), ("AWS::IoT::Certificate::Id", pretended.as_str())];
    register_with(&site, "pumps", &token, &parameters).await.unwrap();
    assert_eq!(status(&site, id).await, CertificateStatus::Active);
    assert_eq!(status(&site, other).await, CertificateStatus::PendingActivation);
}

#[tokio::test]
async fn the_hook_is_asked_before_anything_is_made_and_its_values_win() {
    let hook = Arc::new(Hook::default());
    let site = Site::with(options(hook.clone())).await;
    template(&site, "pumps", &body(), true).await;
    let (id, token) = pending(&site).await;
    let parameters = [("Serial", "1"), ("Site", "home"), ("Extra", "x"), ("AWS::Mine", "y")];
    for (answer, reason) in [
        (json!({ "allowProvisioning": false }), ReasonCode::HookDenied),
        (json!({ "allowProvisioning": "true" }), ReasonCode::HookFailed),
        (Value::Null, ReasonCode::HookFailed),
        (
            json!({ "allowProvisioning": true, "parameterOverrides": { "AWS::x": "" } }),
            ReasonCode::HookFailed,
        ),
    ] {
        *hook.answer.lock().unwrap() = answer;
        let refusal = register_with(&site, "pumps", &token, &parameters).await.unwrap_err();
        assert_eq!((refusal.error, &*refusal.message), (FleetError::AccessDenied, "Access denied."));
        assert_eq!(attempt(&site, reason).await.certificate_id, Some(id));
        assert_eq!(status(&site, id).await, CertificateStatus::PendingActivation);
    }
    *hook.answer.lock().unwrap() =
        json!({ "allowProvisioning": true, "parameterOverrides": { "Site": "oslo", "Serial": "7" } });
    let device = register_with(&site, "pumps", &token, &parameters).await.unwrap();
    assert_eq!(device.thing_name, Some(ThingName::new("pump-7").unwrap()));
    let asked = hook.asked.lock().unwrap();
    assert_eq!(asked.len(), 5);
    assert_eq!(asked[4]["parameters"], json!({ "Serial": "1", "Site": "home", "Extra": "x" }));
    assert_eq!(asked[4]["certificateId"], json!(id));
    assert_eq!(asked[4]["claimCertificateId"], json!(CLAIM));
    assert_eq!(asked[4]["templateArn"], "arn:aws:iot:us-east-1:000000000000:provisioningtemplate/pumps");
    assert!(asked[4]["certificatePem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
}

#[tokio::test]
async fn while_a_hook_thinks_other_devices_go_on_and_more_of_its_own_are_told_to_try_again() {
    let hook = Arc::new(Hook {
        answer: json!({ "allowProvisioning": true }).into(),
        gate: Some(Default::default()),
        ..Hook::default()
    });
    let site = Arc::new(Site::with(options(hook.clone())).await);
    template(&site, "pumps", &body(), true).await;
    template(&site, "valves", &body(), false).await;
    let tokens = [pending(&site).await.1, pending(&site).await.1, pending(&site).await.1];
    let (asked, go_on) = hook.gate.as_ref().unwrap();
    let waiting = tokio::spawn({
        let (site, token) = (site.clone(), tokens[0].clone());
        async move { register(&site, &token).await }
    });
    asked.notified().await;
    let refusal = register(&site, &tokens[1]).await.unwrap_err();
    assert_eq!(refusal.error, FleetError::Throttling);
    assert_eq!(attempt(&site, ReasonCode::HookBusy).await.outcome, Outcome::Refused);
    assert!(register_with(&site, "valves", &tokens[2], &[("Serial", "2")]).await.is_ok());
    // The version that was the default when the hook was asked is the one that runs.
    let mut next = body();
    next["Resources"]["thing"]["Properties"]["ThingName"] = json!("new");
    site.registry().create_template_version(&name("pumps"), &next.to_string(), true).await.unwrap();
    go_on.notify_one();
    let device = waiting.await.unwrap().unwrap();
    assert_eq!(device.thing_name, Some(ThingName::new("pump-1").unwrap()));
}

#[tokio::test]
async fn one_token_on_many_connections_at_once_is_one_run() {
    let site = Arc::new(site().await);
    template(&site, "pumps", &body(), false).await;
    let (_, token) = pending(&site).await;
    let tasks: Vec<_> = (0..16)
        .map(|serial| {
            let (site, token) = (site.clone(), token.clone());
            tokio::spawn(async move {
                register_with(&site, "pumps", &token, &[("Serial", &serial.to_string())]).await.unwrap()
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]));
    let filter = AttemptFilter { outcome: Some(Outcome::Provisioned), ..AttemptFilter::default() };
    assert_eq!(site.provisioner.attempts(&filter, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn each_operation_has_a_rate_of_its_own() {
    let rates = FleetRates { create_keys_and_certificate: 2, register_thing: 1, ..FleetRates::default() };
    let site = Site::with(Options { fleet_rates: rates, ..options(Arc::default()) }).await;
    let take = |operation| site.provisioner.take_fleet_rate(operation);
    assert!(take(FleetOperation::CreateKeysAndCertificate) && take(FleetOperation::CreateKeysAndCertificate));
    assert!(!take(FleetOperation::CreateKeysAndCertificate));
    assert!(take(FleetOperation::RegisterThing) && !take(FleetOperation::RegisterThing));
    assert!((0..100).all(|_| take(FleetOperation::CreateCertificateFromCsr)));
    site.pass(1000);
    assert!(take(FleetOperation::CreateKeysAndCertificate) && take(FleetOperation::RegisterThing));
}

#[tokio::test]
async fn a_template_whose_hook_leads_nowhere_is_refused_with_those_that_exist() {
    let site = site().await;
    template(&site, "pumps", &body(), true).await;
    let hook = ProvisioningHook {
        payload_version: "2020-04-01".into(),
        target_arn: "arn:aws:lambda:us-east-1:000000000000:function:else".into(),
    };
    let update = UpdateTemplate { hook: Some(hook.clone()), ..UpdateTemplate::default() };
    let error = site.registry().update_template(&name("pumps"), update).await.unwrap_err();
    assert!(matches!(&error, RegistryError::InvalidRequest(why) if why.contains(ARN)), "{error}");
    let plain = Site::new().await;
    template(&plain, "pumps", &body(), false).await;
    let update = UpdateTemplate { hook: Some(hook), ..UpdateTemplate::default() };
    let error = plain.registry().update_template(&name("pumps"), update).await.unwrap_err();
    assert!(error.to_string().contains("no hook is configured"), "{error}");
}

#[tokio::test]
async fn an_inactive_certificate_is_an_answer_too() {
    let site = site().await;
    let mut inactive = body();
    inactive["Resources"]["certificate"]["Properties"]["Status"] = json!("INACTIVE");
    inactive.as_object_mut().unwrap().remove("DeviceConfiguration");
    template(&site, "pumps", &inactive, false).await;
    let (id, token) = pending(&site).await;
    let device = register(&site, &token).await.unwrap();
    assert_eq!(device.device_configuration, BTreeMap::new());
    assert_eq!(status(&site, id).await, CertificateStatus::Inactive);
}

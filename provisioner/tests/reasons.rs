//! Every way of not being let in has a code of its own, and leaves what it should and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;
#[path = "../../certs/tests/support/twin.rs"]
mod twin;

use jitp_certs::{Attribute, Authority, KeyKind, Validity};
use jitp_provisioner::names::TemplateName;
use jitp_provisioner::records::{
    CaStatus, CertificateMode, CertificateStatus, PolicyTarget, PrincipalType, RegistrationConfig,
    TemplateType,
};
use jitp_provisioner::registry::{CreateTemplate, CreateThing, RegisterCaCertificate, UpdateCaCertificate};
use jitp_provisioner::{Attempt, Change, Options, Outcome, ReasonCode, Timestamp};
use std::collections::BTreeMap;
use support::*;

fn named(name: &str) -> RegistrationConfig {
    RegistrationConfig {
        template_name: Some(TemplateName::new(name).unwrap()),
        template_body: None,
        role_arn: None,
    }
}
fn create_template(name: &str, body: String) -> CreateTemplate {
    CreateTemplate {
        name: TemplateName::new(name).unwrap(),
        template_type: TemplateType::Jitp,
        body,
        description: None,
        enabled: false,
        role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
        hook: None,
        tags: Default::default(),
    }
}

/// The device is refused for this reason, stays pending with the reason, and the attempt tells it; nothing else remains.
async fn assert_run_fails(site: &Site, device: &Device, expected: ReasonCode) {
    let refusal = site.refused(device).await;
    assert_eq!(refusal.reason, expected, "{}", refusal.message);
    let record = site.certificate(device).await.unwrap();
    assert_eq!(record.status, CertificateStatus::PendingActivation);
    assert!(record.last_error.unwrap().starts_with(expected.as_str()));
    assert!(site.things_of(device).await.is_empty());
    assert!(site.policies_of(device).await.is_empty());
    assert_eq!(site.attempt_of(device, expected).await.outcome, Outcome::Refused);
}

/// The device is refused for this reason and nothing is stored of it but the attempt.
async fn assert_not_registered(site: &Site, device: &Device, expected: ReasonCode) {
    let refusal = site.refused(device).await;
    assert_eq!(refusal.reason, expected, "{}", refusal.message);
    assert_eq!(site.certificate(device).await, None);
    let attempt = site.attempt_of(device, expected).await;
    assert_eq!(attempt.outcome, Outcome::Refused);
    assert_eq!(attempt.source_ip, "10.1.2.3");
    assert_eq!(attempt.client_id.as_deref(), Some(device.name.as_str()));
}

#[tokio::test]
async fn a_device_of_a_registered_ca_is_provisioned_on_its_first_connection_in_one_commit() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let ca_id = site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    let before = site.provisioner.changes().latest();
    let principal = site.admitted(&device).await;
    assert!(principal.provisioned_now);
    assert_eq!(principal.id(), device.id);
    assert_eq!(principal.ca_certificate_id, Some(ca_id));
    assert_eq!(site.things_of(&device).await, ["pump-1"]);
    assert_eq!(site.policies_of(&device).await.len(), 1);
    assert_eq!(site.status(&device).await, Some(CertificateStatus::Active));

    let entries = site.provisioner.changes().since(before, 1000).await.unwrap();
    assert!(entries.iter().all(|entry| entry.revision == entries[0].revision), "one commit");
    assert!(entries.iter().any(|entry| matches!(
        &entry.change,
        Change::CertificateRegistered { status: CertificateStatus::PendingActivation, ca_certificate_id, .. }
            if *ca_certificate_id == ca_id
    )));
    assert!(
        entries
            .iter()
            .any(|entry| matches!(&entry.change, Change::Thing { thing, .. } if thing.version == 1))
    );
    let attempt = site.attempts(1).await.remove(0);
    let Attempt { sequence, outcome, ca_certificate_id, .. } = attempt.clone();
    let told = Change::Attempted { sequence, outcome, ca_certificate_id };
    assert!(entries.iter().any(|entry| entry.change == told));
    assert_eq!(site.provisioner.attempt(sequence).await.unwrap().as_ref(), Some(&attempt));
    assert_eq!(site.provisioner.attempt(sequence + 1).await.unwrap(), None);
    assert_eq!((attempt.outcome, attempt.reason), (Outcome::Provisioned, ReasonCode::Provisioned));
    assert_eq!(attempt.parameters["AWS::IoT::Certificate::CommonName"], "pump-1");
    assert_eq!(attempt.thing_name, Some(thing("pump-1")));
    assert_eq!(attempt.subject.as_deref(), Some("CN=pump-1"));
}

#[tokio::test]
async fn an_active_certificate_never_runs_the_template_again() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let ca_id = site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    site.admitted(&device).await;
    let other = template(
        r#","AttributePayload":{"line":"7"}"#,
        r#","OverrideSettings":{"AttributePayload":"REPLACE"}"#,
    );
    let config = RegistrationConfig {
        template_name: None,
        template_body: Some(other),
        role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
    };
    site.update_ca(ca_id, UpdateCaCertificate { registration_config: Some(config), ..Default::default() })
        .await;
    let before = site.provisioner.changes().latest();
    let principal = site.admitted(&device).await;
    assert!(!principal.provisioned_now);
    assert_eq!(site.provisioner.changes().latest(), before, "nothing was written");
    assert!(site.thing("pump-1").await.unwrap().attributes.is_empty());
}

#[tokio::test]
async fn a_client_without_a_certificate_or_with_a_broken_one_is_told_so() {
    let site = Site::new().await;
    assert_eq!(reason(site.present(&[], "x", None).await), ReasonCode::NotAuthenticated);
    assert_eq!(reason(site.present(&[b"not DER"], "x", None).await), ReasonCode::CertificateMalformed);
    let attempts = site.attempts(2).await;
    assert_eq!(attempts[0].certificate_id, Some(jitp_certs::CertificateId::of_der(b"not DER")));
    assert_eq!(attempts[1].reason, ReasonCode::NotAuthenticated);
}

#[tokio::test]
async fn a_certificate_outside_its_validity_is_never_registered() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let now = Timestamp(NOW).unix_seconds();
    for (from, to, expected) in [
        (now - 100, now - 1, ReasonCode::CertificateExpired),
        (now + 1, now + 100, ReasonCode::CertificateNotYetValid),
    ] {
        let validity = Validity { not_before: from, not_after: to };
        let device = Device::with(&ca, &[(Attribute::CommonName, "pump-1")], validity);
        assert_not_registered(&site, &device, expected).await;
    }
}

#[tokio::test]
async fn a_known_certificate_is_refused_after_it_has_expired() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let now = Timestamp(NOW).unix_seconds();
    let validity = Validity { not_before: now - 100, not_after: now + 100 };
    let device = Device::with(&ca, &[(Attribute::CommonName, "pump-1")], validity);
    site.admitted(&device).await;
    site.pass(101_000);
    assert_eq!(site.refused(&device).await.reason, ReasonCode::CertificateExpired);
    assert_eq!(site.status(&device).await, Some(CertificateStatus::Active));
}

#[tokio::test]
async fn a_device_of_nobody_and_one_of_an_impostor_are_told_apart() {
    let site = Site::new().await;
    let stranger = authority("Stranger");
    assert_not_registered(&site, &Device::new(&stranger, "a"), ReasonCode::CertificateNotRegistered).await;
    let (ours, impostor) = (authority("Plant"), authority("Plant"));
    site.register(&ours, Some(&plain())).await;
    let device = Device::new(&impostor, "pump-1");
    assert_not_registered(&site, &device, ReasonCode::IssuerImpostor).await;
    // Sending the false CA along does not help.
    let chain = [&device.der[..], impostor.certificate().der()];
    assert_eq!(reason(site.present(&chain, "pump-1", None).await), ReasonCode::IssuerImpostor);
    site.admitted(&Device::new(&ours, "pump-1")).await;
}

#[tokio::test]
async fn several_cas_with_one_subject_are_told_apart_by_their_keys() {
    let site = Site::new().await;
    let cas: Vec<Authority> = (0..10).map(|_| authority("Plant")).collect();
    for (i, ca) in cas.iter().enumerate() {
        site.register(ca, Some(&template(&format!(r#","AttributePayload":{{"ca":"{i}"}}"#), ""))).await;
    }
    for (i, ca) in cas.iter().enumerate() {
        let name = format!("pump-{i}");
        site.admitted(&Device::new(ca, &name)).await;
        let attributes = site.thing(&name).await.unwrap().attributes;
        assert_eq!(attributes.values().next().unwrap().as_str(), i.to_string());
    }
}

#[tokio::test]
async fn of_two_cas_with_one_key_the_one_that_may_register_is_taken() {
    let site = Site::new().await;
    let old = authority("Plant");
    let old_id = site.register(&old, Some(&plain())).await;
    site.deactivate(old_id).await;
    let device = Device::new(&old, "pump-1");
    assert_not_registered(&site, &device, ReasonCode::CaInactive).await;
    site.update_ca(old_id, UpdateCaCertificate { new_status: Some(CaStatus::Active), ..Default::default() })
        .await;
    site.admitted(&device).await;
}

#[tokio::test]
async fn a_ca_that_may_not_register_is_named_with_its_reason() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let id = site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    let off = UpdateCaCertificate { new_auto_registration: Some(false), ..Default::default() };
    site.update_ca(id, off).await;
    assert_not_registered(&site, &device, ReasonCode::CaAutoRegistrationDisabled).await;
    site.deactivate(id).await;
    assert_not_registered(&site, &device, ReasonCode::CaInactive).await;
    site.registry().delete_ca_certificate(id).await.unwrap();
    assert_not_registered(&site, &device, ReasonCode::CertificateNotRegistered).await;
}

#[tokio::test]
async fn an_expired_ca_registers_nothing_new_but_its_devices_stay() {
    let site = Site::new().await;
    let now = Timestamp(NOW).unix_seconds();
    let short = Validity { not_before: now - 100, not_after: now + 100 };
    let ca = Authority::create(&[(Attribute::CommonName, "Short".into())], short, KeyKind::EcP256).unwrap();
    site.register(&ca, Some(&plain())).await;
    let (old, new) = (Device::new(&ca, "old"), Device::new(&ca, "new"));
    site.admitted(&old).await;
    site.pass(101_000);
    assert_not_registered(&site, &new, ReasonCode::CaExpired).await;
    assert!(!site.admitted(&old).await.provisioned_now);
}

#[tokio::test]
async fn the_status_of_a_certificate_decides() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    let principal = site.admitted(&device).await;
    assert_eq!(site.provisioner.recheck(&principal).await.unwrap(), None);
    for (status, expected) in [
        (CertificateStatus::Inactive, ReasonCode::CertificateInactive),
        (CertificateStatus::Revoked, ReasonCode::CertificateRevoked),
    ] {
        site.registry().update_certificate(device.id, status).await.unwrap();
        assert_eq!(site.refused(&device).await.reason, expected);
        assert_eq!(site.provisioner.recheck(&principal).await.unwrap(), Some(expected));
    }
    site.registry().detach_thing_principal(&thing("pump-1"), device.id).await.unwrap();
    site.registry().delete_certificate(device.id, true).await.unwrap();
    let gone = Some(ReasonCode::CertificateNotRegistered);
    assert_eq!(site.provisioner.recheck(&principal).await.unwrap(), gone);
    // Deleting the record is how an operator has a device provisioned anew.
    assert!(site.admitted(&device).await.provisioned_now);
}

#[tokio::test]
async fn jitr_registers_tells_the_consumer_each_time_and_lets_in_after_activation() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let ca_id = site.register(&ca, None).await;
    let device = Device::new(&ca, "pump-1");
    assert_eq!(site.refused(&device).await.reason, ReasonCode::RegisteredPendingActivation);
    assert_eq!(site.status(&device).await, Some(CertificateStatus::PendingActivation));
    assert_eq!(site.refused(&device).await.reason, ReasonCode::CertificatePendingActivation);
    let registered = |changes: Vec<Change>| {
        let events = changes.into_iter().filter(|change| {
            matches!(change, Change::CertificateRegistered { certificate_id, ca_certificate_id, .. }
                if *certificate_id == device.id && *ca_certificate_id == ca_id)
        });
        events.count()
    };
    assert_eq!(registered(site.changes().await), 2);
    site.registry().update_certificate(device.id, CertificateStatus::Active).await.unwrap();
    assert!(!site.admitted(&device).await.provisioned_now);
    assert_eq!(registered(site.changes().await), 2);
    let reasons: Vec<ReasonCode> = site.attempts(2).await.into_iter().map(|attempt| attempt.reason).collect();
    assert_eq!(reasons, [ReasonCode::CertificatePendingActivation, ReasonCode::RegisteredPendingActivation]);
}

#[tokio::test]
async fn a_pending_certificate_of_a_deleted_ca_is_told_so() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let id = site.register(&ca, None).await;
    let device = Device::new(&ca, "pump-1");
    site.refused(&device).await;
    site.deactivate(id).await;
    assert_eq!(site.refused(&device).await.reason, ReasonCode::CaInactive);
    site.registry().delete_ca_certificate(id).await.unwrap();
    assert_eq!(site.refused(&device).await.reason, ReasonCode::CaDeleted);
}

#[tokio::test]
async fn a_named_template_runs_in_its_default_version_at_that_time() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let name = TemplateName::new("plant").unwrap();
    site.registry().create_template(create_template("plant", plain())).await.unwrap();
    let ca_id = site.register_with(&ca, Some(named("plant"))).await;
    site.admitted(&Device::new(&ca, "one")).await;
    let second = template(r#","AttributePayload":{"line":"2"}"#, "");
    site.registry().create_template_version(&name, &second, true).await.unwrap();
    site.admitted(&Device::new(&ca, "two")).await;
    assert_eq!(site.thing("two").await.unwrap().attributes.len(), 1);
    let versions: Vec<Option<u32>> = site.attempts(2).await.iter().map(|a| a.template_version).collect();
    assert_eq!(versions, [Some(2), Some(1)]);

    let device = Device::new(&ca, "three");
    let off = UpdateCaCertificate { remove_auto_registration: true, ..Default::default() };
    site.update_ca(ca_id, off).await;
    site.registry().delete_template(&name).await.unwrap();
    assert_not_registered(&site, &device, ReasonCode::CaAutoRegistrationDisabled).await;
}

#[tokio::test]
async fn a_deleted_template_fails_the_run_and_its_return_heals_the_device() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let name = TemplateName::new("plant").unwrap();
    site.registry().create_template(create_template("plant", plain())).await.unwrap();
    site.register_with(&ca, Some(named("plant"))).await;
    let device = Device::new(&ca, "pump-1");
    if site.registry().delete_template(&name).await.is_err() {
        // The registry protects a template that a CA names: then there is nothing to fail.
        return;
    }
    assert_run_fails(&site, &device, ReasonCode::TemplateNotFound).await;
    let fleet = CreateTemplate {
        template_type: TemplateType::FleetProvisioning,
        ..create_template("plant", plain())
    };
    site.registry().create_template(fleet).await.unwrap();
    site.pass(1000);
    assert_run_fails(&site, &device, ReasonCode::TemplateNotFound).await;
    site.registry().delete_template(&name).await.unwrap();
    site.registry().create_template(create_template("plant", plain())).await.unwrap();
    site.pass(1000);
    assert!(site.admitted(&device).await.provisioned_now);
    assert_eq!(site.certificate(&device).await.unwrap().last_error, None);
}

#[tokio::test]
async fn a_subject_without_a_declared_attribute_fails_the_run() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::with(&ca, &[(Attribute::Organization, "Blue Gate")], validity());
    let refusal = site.refused(&device).await;
    assert_eq!(refusal.reason, ReasonCode::MissingParameter);
    assert!(refusal.message.contains("AWS::IoT::Certificate::CommonName"), "{}", refusal.message);
    site.pass(1000);
    assert_run_fails(&site, &device, ReasonCode::MissingParameter).await;
}

#[tokio::test]
async fn a_value_that_is_no_legal_name_fails_the_run_and_is_never_rewritten() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "Blue Gate Ltd");
    assert_run_fails(&site, &device, ReasonCode::InvalidValue).await;
    let attempt = site.attempts(1).await.remove(0);
    assert_eq!(attempt.failing_resource.as_deref(), Some("gw"));
    assert!(attempt.json_path.unwrap().starts_with("$.Resources.gw.Properties.ThingName"));
}

#[tokio::test]
async fn a_missing_group_leaves_only_the_pending_certificate_and_creating_it_heals_the_device() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&template(r#","ThingGroups":["inbound"]"#, ""))).await;
    let device = Device::new(&ca, "pump-1");
    assert_run_fails(&site, &device, ReasonCode::ThingGroupNotFound).await;
    assert_eq!(site.thing("pump-1").await, None);
    assert!(site.registry().list_policies(&all()).await.unwrap().items.is_empty());
    let attempt = site.attempts(1).await.remove(0);
    assert_eq!(attempt.failing_resource.as_deref(), Some("gw"));
    assert_eq!(attempt.json_path.as_deref(), Some("$.Resources.gw.Properties.ThingGroups"));
    site.create_group("inbound", None).await;
    site.pass(1000);
    assert!(site.admitted(&device).await.provisioned_now);
    assert_eq!(site.groups_of("pump-1").await, ["inbound"]);
    assert_eq!(site.certificate(&device).await.unwrap().last_error, None);
}

#[tokio::test]
async fn a_thing_type_must_exist_and_not_be_deprecated() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&template(r#","ThingTypeName":"gateway""#, ""))).await;
    let device = Device::new(&ca, "pump-1");
    assert_run_fails(&site, &device, ReasonCode::ThingTypeNotFound).await;
    let name = jitp_provisioner::names::ThingTypeName::new("gateway").unwrap();
    site.registry().create_thing_type(name.clone(), None, vec![]).await.unwrap();
    site.registry().deprecate_thing_type(&name, false).await.unwrap();
    site.pass(1000);
    assert_run_fails(&site, &device, ReasonCode::ThingTypeDeprecated).await;
    site.registry().deprecate_thing_type(&name, true).await.unwrap();
    site.pass(1000);
    site.admitted(&device).await;
    assert_eq!(site.thing("pump-1").await.unwrap().thing_type, Some(name));
}

#[tokio::test]
async fn a_billing_group_and_a_policy_must_exist() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let body = template(r#","BillingGroup":"north""#, "").replace(
        &format!(r#""PolicyDocument":{}"#, serde_json::to_string(ALLOW_ALL).unwrap()),
        r#""PolicyName":"gateway-base""#,
    );
    site.register(&ca, Some(&body)).await;
    let device = Device::new(&ca, "pump-1");
    assert_run_fails(&site, &device, ReasonCode::BillingGroupNotFound).await;
    let billing = jitp_provisioner::names::BillingGroupName::new("north").unwrap();
    site.registry().create_billing_group(billing.clone(), None).await.unwrap();
    site.pass(1000);
    assert_run_fails(&site, &device, ReasonCode::PolicyNotFound).await;
    site.create_policy("gateway-base", ALLOW_ALL).await;
    site.pass(1000);
    site.admitted(&device).await;
    assert_eq!(site.policies_of(&device).await, ["gateway-base"]);
    assert_eq!(site.thing("pump-1").await.unwrap().billing_group, Some(billing));
}

#[tokio::test]
async fn more_policies_than_a_certificate_may_have_fail_the_run() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let body = template("", "");
    let ca_id = site.register(&ca, None).await;
    let device = Device::new(&ca, "pump-1");
    site.refused(&device).await;
    for i in 0..10 {
        let name = format!("p{i}");
        site.create_policy(&name, ALLOW_ALL).await;
        let target = PolicyTarget::Certificate(device.id);
        site.registry().attach_policy(&policy(&name), target).await.unwrap();
    }
    let config = RegistrationConfig {
        template_name: None,
        template_body: Some(body),
        role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
    };
    site.update_ca(ca_id, UpdateCaCertificate { registration_config: Some(config), ..Default::default() })
        .await;
    let refusal = site.refused(&device).await;
    assert_eq!(refusal.reason, ReasonCode::LimitExceeded, "{}", refusal.message);
    assert_eq!(site.thing("pump-1").await, None);
    assert_eq!(site.status(&device).await, Some(CertificateStatus::PendingActivation));
}

#[tokio::test]
async fn an_exclusive_certificate_of_another_thing_is_a_conflict() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let ca_id = site.register(&ca, None).await;
    let device = Device::new(&ca, "pump-1");
    site.refused(&device).await;
    site.registry().create_thing(thing("other"), CreateThing::default()).await.unwrap();
    let kind = PrincipalType::ExclusiveThing;
    site.registry().attach_thing_principal(&thing("other"), device.id, kind).await.unwrap();
    let config = RegistrationConfig {
        template_name: None,
        template_body: Some(plain()),
        role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
    };
    site.update_ca(ca_id, UpdateCaCertificate { registration_config: Some(config), ..Default::default() })
        .await;
    let refusal = site.refused(&device).await;
    assert_eq!(refusal.reason, ReasonCode::ResourceConflict, "{}", refusal.message);
    assert_eq!(site.thing("pump-1").await, None);
}

#[tokio::test]
async fn a_template_that_says_inactive_provisions_but_does_not_let_in() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let body = plain().replace(r#""Status":"ACTIVE""#, r#""Status":"INACTIVE""#);
    site.register(&ca, Some(&body)).await;
    let device = Device::new(&ca, "pump-1");
    assert_eq!(site.refused(&device).await.reason, ReasonCode::CertificateInactive);
    assert_eq!(site.status(&device).await, Some(CertificateStatus::Inactive));
    assert_eq!(site.things_of(&device).await, ["pump-1"]);
    let attempt = site.attempts(1).await.remove(0);
    assert_eq!(attempt.outcome, Outcome::Provisioned);
    assert_eq!(site.refused(&device).await.reason, ReasonCode::CertificateInactive);
    assert_eq!(site.attempts(2).await.len(), 2, "no second run");
}

#[tokio::test]
async fn a_server_name_is_required_where_the_options_or_the_ca_say_so() {
    let strict = Site::with(Options { require_sni: true, ..Options::default() }).await;
    let ca = authority("Plant");
    strict.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    let without = strict.present(&[&device.der], "pump-1", None).await;
    assert_eq!(reason(without), ReasonCode::SniMisused);
    strict.admitted(&device).await;

    let site = Site::new().await;
    let request = RegisterCaCertificate {
        ca_certificate: ca.certificate().to_pem(),
        mode: CertificateMode::SniOnly,
        set_as_active: true,
        allow_auto_registration: true,
        registration_config: Some(RegistrationConfig {
            template_name: None,
            template_body: Some(plain()),
            role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
        }),
        tags: BTreeMap::new(),
        ..Default::default()
    };
    site.registry().register_ca_certificate(request).await.unwrap();
    for _ in 0..2 {
        let without = site.present(&[&device.der], "pump-1", None).await;
        assert_eq!(reason(without), ReasonCode::SniMisused);
        assert_eq!(site.certificate(&device).await, None);
    }
    site.admitted(&device).await;
    assert_eq!(site.certificate(&device).await.unwrap().mode, CertificateMode::SniOnly);
    let without = site.present(&[&device.der], "pump-1", None).await;
    assert_eq!(reason(without), ReasonCode::SniMisused);
}

#[tokio::test]
async fn a_closed_registry_refuses_with_its_own_code_and_asks_to_retry() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    site.provisioner.close().await.unwrap();
    let refusal = site.refused(&device).await;
    assert_eq!(
        (refusal.reason, refusal.retry),
        (ReasonCode::RegistryUnavailable, true),
        "{}",
        refusal.message
    );
}

#[tokio::test]
async fn a_certificate_with_a_weak_key_is_refused_for_that() {
    let site = Site::new().await;
    let weak = include_str!("../../certs/tests/fixtures/ca-rsa-1024.pem");
    let weak = jitp_certs::Certificate::from_pem(weak).unwrap();
    let admission = site.present(&[weak.der()], "x", None).await;
    assert_eq!(reason(admission), ReasonCode::CertificateAlgorithmRefused);
}

#[tokio::test]
async fn a_stored_template_that_stricter_options_refuse_is_invalid_and_heals_with_them() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let joined = plain().replace(
        r#""ThingName":{"Ref":"AWS::IoT::Certificate::CommonName"}"#,
        r#""ThingName":{"Fn::Join":["-",["gw",{"Ref":"AWS::IoT::Certificate::CommonName"}]]}"#,
    );
    site.register(&ca, Some(&joined)).await;
    let device = Device::new(&ca, "pump-1");
    let site = site.reopened(Options { functions_in_fleet_only: true, ..Options::default() }).await;
    assert_run_fails(&site, &device, ReasonCode::TemplateInvalid).await;
    let site = site.reopened(Options::default()).await;
    site.pass(1000);
    site.admitted(&device).await;
    assert_eq!(site.things_of(&device).await, ["gw-pump-1"]);
}

#[tokio::test]
async fn a_revoked_certificate_does_not_come_back_with_the_twin_of_its_signature() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    site.admitted(&device).await;
    site.registry().update_certificate(device.id, CertificateStatus::Revoked).await.unwrap();
    let der = twin::with_twin_signature(&device.der);
    let altered = Device { id: jitp_certs::CertificateId::of_der(&der), der, ..device };
    assert_not_registered(&site, &altered, ReasonCode::CertificateAltered).await;
}

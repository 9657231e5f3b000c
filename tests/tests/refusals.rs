//! Every refusal says why: to the device by a code, to the operator by an attempt; and leaves behind what it may.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_certs::{Attribute, Authority, Certificate, Issued, KeyKind, Validity};
use jitp_tests::{Broker, BrokerOptions, DeviceFiles, Factory, Plant, Shared, TEMPLATE, Wire, edited, now};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;

#[path = "../../certs/tests/support/twin.rs"]
#[allow(clippy::unwrap_used, reason = "a certificate that is not of this form is a mistake of the test")]
mod twin;

const DAY: i64 = 24 * 3600;

static PLANT: Shared<Plant> = Shared::new();

/// Without the limit on repeated tries: each test tries twice, with both protocol versions.
fn plant() -> anyhow::Result<Arc<Plant>> {
    let unlimited = "[provisioning]\nruns_per_certificate_per_second = 0\n";
    PLANT.get(|| Plant::with(BrokerOptions::config(unlimited)))
}

/// What a refused certificate may leave in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Not even the certificate.
    Nothing,
    /// The certificate, waiting.
    Pending,
}

/// Refused on both protocol versions and in the attempt log with this reason; no thing, no attachment.
async fn refused(
    broker: &Broker,
    device: &DeviceFiles,
    name: &str,
    reason: &str,
    left: Left,
) -> anyhow::Result<Value> {
    let (mut wire, answer) = Wire::connect(broker, device, name).await?;
    ensure!(answer.body == [0, 5], "MQTT 3.1.1: {answer:?}");
    ensure!(wire.receive().await?.is_none(), "it goes on after the refusal");
    refused5(broker, device, name, reason).await?;
    let attempts = broker.attempts(&device.id(), 2)?;
    for attempt in &attempts {
        ensure!(attempt["reason"] == reason && attempt["outcome"] == "refused", "not {reason}: {attempt:#}");
        ensure!(attempt["clientId"] == name, "{attempt:#}");
        ensure!(attempt["message"].as_str().is_some_and(|text| text.len() > 20), "{attempt:#}");
    }
    let thing = broker.run(&["thing", "show", name])?;
    ensure!(thing.code == Some(3), "a thing is there: {thing:?}");
    match left {
        Left::Nothing => {
            let certificate = broker.run(&["cert", "show", &device.id()])?;
            ensure!(certificate.code == Some(3), "the certificate is there: {certificate:?}");
        }
        Left::Pending => {
            let certificate = broker.ask(&["cert", "show", &device.id()])?;
            ensure!(
                certificate["certificateDescription"]["status"] == "PENDING_ACTIVATION",
                "{certificate:#}"
            );
            ensure!(certificate["policies"] == json!([]), "{certificate:#}");
        }
    }
    attempts.into_iter().next_back().context("no attempt")
}

async fn refused5(broker: &Broker, device: &Issued, name: &str, reason: &str) -> anyhow::Result<()> {
    let (mut wire, answer) = Wire::connect5(broker, device, name).await?;
    // A quota that does not come back by itself has a code of its own.
    let expected = if reason == "CA_BUDGET_EXHAUSTED" { 0x97 } else { 0x87 };
    ensure!(answer.connack_code()? == expected, "MQTT 5: {answer:?}");
    ensure!(answer.text().contains(reason), "the Reason String lacks {reason}: {:?}", answer.text());
    ensure!(wire.receive().await?.is_none(), "it goes on after the refusal");
    Ok(())
}

async fn accepted(broker: &Broker, device: &Issued, name: &str) -> anyhow::Result<()> {
    let (_wire, answer) = Wire::connect5(broker, device, name).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?} {}", answer.text());
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_a_ca_that_is_not_registered() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = Factory::new("Nobody's CA")?.device("stranger")?;
    let reason = "DEVICE_CERTIFICATE_NOT_REGISTERED";
    refused(&plant.broker, &device, "stranger", reason, Left::Nothing).await.map(|_| ())
}

#[tokio::test]
async fn a_certificate_of_an_inactive_ca() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Inactive CA")?;
    let template = factory.file("template.json", TEMPLATE)?.display().to_string();
    factory.register_with(&plant.broker, &["--template-body", &template, "--inactive"])?;
    let device = factory.device("early")?;
    refused(&plant.broker, &device, "early", "CA_CERTIFICATE_INACTIVE", Left::Nothing).await?;
    plant.broker.ask(&["ca", "activate", &factory.id()])?;
    accepted(&plant.broker, &device, "early").await
}

#[tokio::test]
async fn a_certificate_of_a_ca_without_auto_registration() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Manual CA")?;
    let template = factory.file("template.json", TEMPLATE)?.display().to_string();
    factory.register_with(&plant.broker, &["--template-body", &template, "--no-auto-registration"])?;
    let device = factory.device("manual")?;
    let reason = "CA_CERTIFICATE_AUTO_REGISTRATION_DISABLED";
    refused(&plant.broker, &device, "manual", reason, Left::Nothing).await?;
    let path = format!("/cacertificate/{}?newAutoRegistrationStatus=ENABLE", factory.id());
    plant.broker.api()?.put(&path, &json!({})).await?;
    accepted(&plant.broker, &device, "manual").await
}

#[tokio::test]
async fn a_certificate_of_an_impostor_with_the_name_of_a_registered_ca() -> anyhow::Result<()> {
    let plant = plant()?;
    let (registered, impostor) = (Factory::new("Twin CA")?, Factory::new("Twin CA")?);
    registered.register(&plant.broker, TEMPLATE)?;
    let device = impostor.device("forged")?;
    refused(&plant.broker, &device, "forged", "ISSUER_SIGNATURE_MISMATCH", Left::Nothing).await?;
    accepted(&plant.broker, &*registered.device("genuine")?, "genuine").await
}

#[tokio::test]
async fn sending_the_impostors_ca_in_the_chain_does_not_help() -> anyhow::Result<()> {
    let plant = plant()?;
    let (registered, impostor) = (Factory::new("Chain CA")?, Factory::new("Chain CA")?);
    registered.register(&plant.broker, TEMPLATE)?;
    let device = impostor.device("chained")?;
    let chain = std::fs::read_to_string(&device.chain_file)?;
    let config =
        jitp_tests::wire::tls(&plant.broker.server_ca()?, Some((&chain, device.private_key.expose())))?;
    let mut wire = Wire::open_with(plant.broker.mqtt(), Arc::new(config)).await?;
    wire.send(&jitp_tests::wire::connect(4, "chained")).await?;
    assert_eq!(wire.receive().await?.context("closed")?.connack_code()?, 5);
    assert_eq!(plant.broker.attempts(&device.id(), 1)?[0]["reason"], "ISSUER_SIGNATURE_MISMATCH");
    Ok(())
}

#[tokio::test]
async fn a_new_certificate_of_a_ca_that_was_deleted_while_the_old_ones_keep_working() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Closed CA")?;
    factory.register(&plant.broker, TEMPLATE)?;
    let old = factory.device("old")?;
    accepted(&plant.broker, &old, "old").await?;
    delete_ca(&plant.broker, &factory).await?;
    let device = factory.device("late")?;
    let reason = "DEVICE_CERTIFICATE_NOT_REGISTERED";
    refused(&plant.broker, &device, "late", reason, Left::Nothing).await?;
    accepted(&plant.broker, &old, "old").await
}

#[tokio::test]
async fn a_pending_certificate_whose_ca_was_deleted() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Short-lived CA")?;
    factory.register_with(&plant.broker, &["--jitr"])?;
    let device = factory.device("orphan")?;
    let (_, answer) = Wire::connect(&plant.broker, &device, "orphan").await?;
    assert_eq!(answer.connack_code()?, 5);
    delete_ca(&plant.broker, &factory).await?;
    refused5(&plant.broker, &device, "orphan", "CA_CERTIFICATE_DELETED").await?;
    assert_eq!(plant.broker.attempts(&device.id(), 2)?[1]["reason"], "CA_CERTIFICATE_DELETED");
    Ok(())
}

async fn delete_ca(broker: &Broker, factory: &Factory) -> anyhow::Result<()> {
    let api = broker.api()?;
    let path = format!("/cacertificate/{}", factory.id());
    let early = api.call("DELETE", &path, None, None).await?;
    ensure!(early.status == 406, "an active CA was deleted: {early:?}");
    broker.ask(&["ca", "deactivate", &factory.id()])?;
    api.delete(&path).await.map(|_| ())
}

#[tokio::test]
async fn a_ca_outside_of_its_own_validity_registers_nothing_new() -> anyhow::Result<()> {
    let plant = plant()?;
    // One that expires after its registration takes a clock that a test can move: provisioner/tests/reasons.rs.
    let validity = Validity { not_before: now() + DAY, not_after: now() + 2 * DAY };
    let factory = Factory::with_validity("Early CA", validity)?;
    factory.register(&plant.broker, TEMPLATE)?;
    let device = factory.device("premature")?;
    refused(&plant.broker, &device, "premature", "CA_CERTIFICATE_EXPIRED", Left::Nothing).await.map(|_| ())
}

#[tokio::test]
async fn an_expired_certificate() -> anyhow::Result<()> {
    let plant = plant()?;
    let validity = Validity { not_before: now() - 2 * DAY, not_after: now() - DAY };
    let device = plant.factory.device_with(vec![(Attribute::CommonName, "expired".into())], validity)?;
    let reason = "DEVICE_CERTIFICATE_EXPIRED";
    refused(&plant.broker, &device, "expired", reason, Left::Nothing).await.map(|_| ())
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet() -> anyhow::Result<()> {
    let plant = plant()?;
    let validity = Validity { not_before: now() + DAY, not_after: now() + 2 * DAY };
    let device = plant.factory.device_with(vec![(Attribute::CommonName, "future".into())], validity)?;
    let reason = "DEVICE_CERTIFICATE_NOT_YET_VALID";
    refused(&plant.broker, &device, "future", reason, Left::Nothing).await.map(|_| ())
}

#[tokio::test]
async fn a_certificate_signed_with_sha1() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = &plant.factory;
    let file = |name: &str| factory.directory().join(name).display().to_string();
    let openssl = |arguments: &[&str]| -> anyhow::Result<()> {
        let output = Command::new("openssl").args(arguments).output().context("openssl does not start")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let (key, csr, pem) = (file("sha1.key"), file("sha1.csr"), file("sha1.pem"));
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key])?;
    openssl(&["req", "-new", "-key", &key, "-subj", "/CN=weak", "-out", &csr])?;
    let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
    let sign = ["-CA", &ca, "-CAkey", &ca_key, "-set_serial", "7", "-days", "9", "-sha1", "-out", &pem];
    openssl(&[&["x509", "-req", "-in", &csr], sign.as_slice()].concat())?;
    let device = factory.foreign_device(&std::fs::read_to_string(&pem)?, &std::fs::read_to_string(&key)?)?;
    let reason = "DEVICE_CERTIFICATE_ALGORITHM_REFUSED";
    refused(&plant.broker, &device, "weak", reason, Left::Nothing).await.map(|_| ())
}

#[tokio::test]
async fn a_certificate_that_lacks_a_declared_parameter() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Demanding CA")?;
    let parameter = "AWS::IoT::Certificate::Organization";
    factory
        .register(&plant.broker, &edited(|t| t["Parameters"][parameter] = json!({ "Type": "String" }))?)?;
    let device = factory.device("incomplete")?;
    let reason = "TEMPLATE_PARAMETER_MISSING";
    let attempt = refused(&plant.broker, &device, "incomplete", reason, Left::Pending).await?;
    assert!(attempt["message"].as_str().is_some_and(|text| text.contains(parameter)), "{attempt:#}");
    Ok(())
}

#[tokio::test]
async fn a_common_name_that_is_not_a_legal_thing_name_is_not_rewritten() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("Blue Gate Ltd")?;
    let reason = "TEMPLATE_VALUE_INVALID";
    let attempt = refused(&plant.broker, &device, "Blue Gate Ltd", reason, Left::Pending).await?;
    assert_eq!(attempt["failingResource"], "thing", "{attempt:#}");
    assert!(attempt["jsonPath"].as_str().is_some_and(|path| path.contains("ThingName")), "{attempt:#}");
    assert_eq!(attempt["parameters"]["AWS::IoT::Certificate::CommonName"], "Blue Gate Ltd");
    Ok(())
}

#[tokio::test]
async fn a_template_that_a_ca_names_cannot_be_deleted_under_its_devices() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Relying CA")?;
    let body = factory.file("template.json", TEMPLATE)?.display().to_string();
    plant.broker.ask(&["template", "create", "relied-on", "--body", &body])?;
    factory.register_with(&plant.broker, &["--template", "relied-on"])?;
    let api = plant.broker.api()?;
    let reply = api.call("DELETE", "/provisioning-templates/relied-on", None, None).await?;
    assert_eq!(
        (reply.status, reply.exception.as_deref()),
        (409, Some("DeleteConflictException")),
        "{reply:?}"
    );
    accepted(&plant.broker, &*factory.device("relying")?, "relying").await?;
    let path = format!("/cacertificate/{}", factory.id());
    api.put(&path, &json!({ "removeAutoRegistration": true })).await?;
    api.delete("/provisioning-templates/relied-on").await?;
    let device = factory.device("unrelying")?;
    let reason = "CA_CERTIFICATE_AUTO_REGISTRATION_DISABLED";
    refused(&plant.broker, &device, "unrelying", reason, Left::Nothing).await.map(|_| ())
}

/// Refused for what the template names and nobody made; accepted at the next try once it is made.
async fn heals(
    ca: &str,
    name: &str,
    template: String,
    reason: &str,
    missing: &str,
    path: &str,
) -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new(ca)?;
    factory.register(&plant.broker, &template)?;
    let device = factory.device(name)?;
    let attempt = refused(&plant.broker, &device, name, reason, Left::Pending).await?;
    ensure!(attempt["message"].as_str().is_some_and(|text| text.contains(missing)), "{attempt:#}");
    ensure!(attempt["failingResource"].is_string(), "{attempt:#}");
    let everything = json!({ "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "iot:*", "Resource": "*" }] });
    let body = if path.starts_with("/policies") {
        json!({ "policyDocument": everything.to_string() })
    } else {
        json!({})
    };
    plant.broker.api()?.post(path, &body).await?;
    accepted(&plant.broker, &device, name).await?;
    let thing = plant.broker.ask(&["thing", "show", name])?;
    ensure!(thing["principals"].as_array().map(Vec::len) == Some(1), "{thing:#}");
    Ok(())
}

#[tokio::test]
async fn a_missing_thing_group_until_it_is_made() -> anyhow::Result<()> {
    let template = edited(|t| t["Resources"]["thing"]["Properties"]["ThingGroups"] = json!(["press-hall"]))?;
    heals("Group CA", "grouped", template, "THING_GROUP_NOT_FOUND", "press-hall", "/thing-groups/press-hall")
        .await
}

#[tokio::test]
async fn a_missing_thing_type_until_it_is_made() -> anyhow::Result<()> {
    let template = edited(|t| t["Resources"]["thing"]["Properties"]["ThingTypeName"] = json!("press"))?;
    heals("Type CA", "typed", template, "THING_TYPE_NOT_FOUND", "press", "/thing-types/press").await
}

#[tokio::test]
async fn a_missing_billing_group_until_it_is_made() -> anyhow::Result<()> {
    let template = edited(|t| t["Resources"]["thing"]["Properties"]["BillingGroup"] = json!("plant-a"))?;
    heals("Billing CA", "billed", template, "BILLING_GROUP_NOT_FOUND", "plant-a", "/billing-groups/plant-a")
        .await
}

#[tokio::test]
async fn a_missing_policy_until_it_is_made() -> anyhow::Result<()> {
    let template = edited(|t| t["Resources"]["policy"]["Properties"]["PolicyName"] = json!("absent"))?;
    heals("Policy CA", "governed", template, "POLICY_NOT_FOUND", "absent", "/policies/absent").await
}

#[tokio::test]
async fn a_deprecated_thing_type() -> anyhow::Result<()> {
    let plant = plant()?;
    let api = plant.broker.api()?;
    api.post("/thing-types/antique", &json!({})).await?;
    api.post("/thing-types/antique/deprecate", &json!({})).await?;
    let factory = Factory::new("Antique CA")?;
    let template = edited(|t| t["Resources"]["thing"]["Properties"]["ThingTypeName"] = json!("antique"))?;
    factory.register(&plant.broker, &template)?;
    let device = factory.device("antiquated")?;
    refused(&plant.broker, &device, "antiquated", "THING_TYPE_DEPRECATED", Left::Pending).await.map(|_| ())
}

#[tokio::test]
async fn a_thing_that_exists_and_must_not_be_changed() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Careful CA")?;
    let template = edited(|t| {
        t["Resources"]["thing"]["OverrideSettings"] = json!({ "AttributePayload": "FAIL" });
    })?;
    factory.register(&plant.broker, &template)?;
    let attributes = json!({ "attributePayload": { "attributes": { "line": "other" } } });
    plant.broker.api()?.post("/things/taken", &attributes).await?;
    let device = factory.device("taken")?;
    let (_, answer) = Wire::connect(&plant.broker, &device, "taken").await?;
    assert_eq!(answer.connack_code()?, 5);
    refused5(&plant.broker, &device, "taken", "RESOURCE_CONFLICT").await?;
    let thing = plant.broker.ask(&["thing", "show", "taken"])?;
    assert_eq!(thing["principals"], json!([]));
    assert_eq!(thing["thing"]["attributes"], json!({ "line": "other" }));
    Ok(())
}

#[tokio::test]
async fn a_revoked_certificate_for_good_and_an_inactive_one_until_it_is_activated() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("suspended")?;
    accepted(&plant.broker, &device, "suspended").await?;
    plant.broker.ask(&["cert", "deactivate", &device.id()])?;
    refused5(&plant.broker, &device, "suspended", "DEVICE_CERTIFICATE_INACTIVE").await?;
    plant.broker.ask(&["cert", "activate", &device.id()])?;
    accepted(&plant.broker, &device, "suspended").await?;
    plant.broker.ask(&["cert", "revoke", &device.id()])?;
    refused5(&plant.broker, &device, "suspended", "DEVICE_CERTIFICATE_REVOKED").await?;
    assert_eq!(plant.broker.run(&["cert", "activate", &device.id()])?.code, Some(3));
    let attempts = plant.broker.attempts(&device.id(), 3)?;
    let reasons: Vec<&str> = attempts.iter().filter_map(|attempt| attempt["reason"].as_str()).collect();
    assert_eq!(reasons, ["PROVISIONED", "DEVICE_CERTIFICATE_INACTIVE", "DEVICE_CERTIFICATE_REVOKED"]);
    Ok(())
}

#[tokio::test]
async fn a_revoked_certificate_in_the_guise_of_another_signature() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("disguised")?;
    accepted(&plant.broker, &device, "disguised").await?;
    plant.broker.ask(&["cert", "revoke", &device.id()])?;
    let disguise = Certificate::from_der(&twin::with_twin_signature(device.issued.certificate.der()))?;
    let disguised = plant.factory.foreign_device(&disguise.to_pem(), device.issued.private_key.expose())?;
    assert_ne!(disguised.id(), device.id());
    refused5(&plant.broker, &disguised, "disguised", "DEVICE_CERTIFICATE_ALTERED").await?;
    assert_eq!(plant.broker.run(&["cert", "show", &disguised.id()])?.code, Some(3));
    Ok(())
}

#[tokio::test]
async fn a_client_id_that_the_policy_does_not_allow() -> anyhow::Result<()> {
    let plant = plant()?;
    let device = plant.factory.device("rightful")?;
    refused5(&plant.broker, &device, "another", "AUTHORIZATION_FAILURE").await?;
    accepted(&plant.broker, &device, "rightful").await
}

#[tokio::test]
async fn a_certificate_that_keeps_failing_is_slowed_down() -> anyhow::Result<()> {
    let plant = Plant::new()?;
    let device = plant.factory.device("not a name")?;
    refused5(&plant.broker, &device, "impatient", "TEMPLATE_VALUE_INVALID").await?;
    // On a busy machine two tries may be more than a second apart.
    jitp_tests::eventually("it is slowed down", || async {
        let (_, answer) = Wire::connect5(&plant.broker, &device, "impatient").await?;
        let (code, text) = (answer.connack_code()?, answer.text());
        let slowed = text.contains("CERTIFICATE_RATE_EXCEEDED");
        ensure!(slowed || text.contains("TEMPLATE_VALUE_INVALID"), "{text}");
        ensure!(code == if slowed { 0x97 } else { 0x87 }, "{code:#x} {text}");
        Ok(slowed.then_some(()))
    })
    .await?;
    accepted(&plant.broker, &*plant.factory.device("unconcerned")?, "unconcerned").await
}

#[tokio::test]
async fn a_ca_over_its_budget_registers_nothing_until_later() -> anyhow::Result<()> {
    let plant = Plant::with(BrokerOptions::config("[provisioning]\nruns_per_ca_per_second = 1\n"))?;
    let devices = plant.factory.devices("hasty", 100)?;
    let mut put_off = None;
    for (number, device) in devices.iter().enumerate() {
        let name = format!("hasty-{number}");
        let (_, answer) = Wire::connect5(&plant.broker, device, &name).await?;
        if answer.connack_code()? != 0 {
            assert!(answer.text().contains("CA_RATE_EXCEEDED"), "{}", answer.text());
            assert_eq!(
                plant.broker.run(&["cert", "show", &device.certificate.id().to_string()])?.code,
                Some(3)
            );
            put_off = Some((name, device));
            break;
        }
    }
    let (name, device) = put_off.context("nothing was put off")?;
    jitp_tests::eventually("the budget comes back", || async {
        let (_, answer) = Wire::connect5(&plant.broker, device, &name).await?;
        Ok((answer.connack_code()? == 0).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_ca_faster_than_its_own_rate_registers_nothing_until_the_rate_is_raised() -> anyhow::Result<()> {
    let plant = plant()?;
    let factory = Factory::new("Rated CA")?;
    factory.register(&plant.broker, TEMPLATE)?;
    let budget = plant.broker.ask(&["ca", "budget", &factory.id(), "--rate", "1"])?;
    assert_eq!(budget["runsPerSecond"], 1, "{budget:#}");
    let devices = factory.devices("rated", 100)?;
    let mut put_off = None;
    for (number, device) in devices.iter().enumerate() {
        let name = format!("rated-{number}");
        let (_, answer) = Wire::connect5(&plant.broker, device, &name).await?;
        if answer.connack_code()? != 0 {
            assert_eq!((answer.connack_code()?, answer.text().contains("CA_RATE_EXCEEDED")), (0x97, true));
            put_off = Some((name, device));
            break;
        }
    }
    let (name, device) = put_off.context("nothing was put off")?;
    plant.broker.ask(&["ca", "budget", &factory.id(), "--rate", "0"])?;
    accepted(&plant.broker, device, &name).await
}

#[tokio::test]
async fn a_ca_that_has_used_up_its_total_registers_nothing_until_an_operator_raises_it() -> anyhow::Result<()>
{
    let plant = plant()?;
    let factory = Factory::new("Limited CA")?;
    factory.register(&plant.broker, TEMPLATE)?;
    plant.broker.ask(&["ca", "budget", &factory.id(), "--runs", "1"])?;
    let first = factory.device("within-budget")?;
    accepted(&plant.broker, &first, "within-budget").await?;
    let second = factory.device("beyond-budget")?;
    let reason = "CA_BUDGET_EXHAUSTED";
    let attempt = refused(&plant.broker, &second, "beyond-budget", reason, Left::Nothing).await?;
    assert!(attempt["message"].as_str().is_some_and(|text| text.contains("jitp ca budget")), "{attempt:#}");
    let shown = plant.broker.ask(&["ca", "show", &factory.id()])?;
    assert_eq!((&shown["budget"]["usedRuns"], &shown["budget"]["totalRuns"]), (&json!(1), &json!(1)));
    // Who was let in before is no concern of the budget.
    accepted(&plant.broker, &first, "within-budget").await?;
    plant.broker.ask(&["ca", "budget", &factory.id(), "--runs", "2"])?;
    accepted(&plant.broker, &second, "beyond-budget").await?;
    let third = factory.device("unlimited")?;
    refused5(&plant.broker, &third, "unlimited", reason).await?;
    plant.broker.ask(&["ca", "budget", &factory.id(), "--unlimited"])?;
    accepted(&plant.broker, &third, "unlimited").await
}

#[tokio::test]
async fn of_two_cas_with_one_name_the_one_that_signed_decides() -> anyhow::Result<()> {
    let plant = plant()?;
    let subject = [(Attribute::CommonName, "Rollover CA".to_owned())];
    let validity = Validity { not_before: now() - DAY, not_after: now() + DAY };
    let pair = [KeyKind::EcP256, KeyKind::EcP384].map(|key| Authority::create(&subject, validity, key));
    for (authority, line) in pair.into_iter().zip(["old-key", "new-key"]) {
        let authority = authority?;
        let factory = Factory::from_pem(&authority.certificate().to_pem(), authority.private_key().expose())?;
        let template = edited(|t| {
            t["Resources"]["thing"]["Properties"]["AttributePayload"]["line"] = json!(line);
        })?;
        factory.register(&plant.broker, &template)?;
        accepted(&plant.broker, &*factory.device(line)?, line).await?;
        assert_eq!(plant.broker.ask(&["thing", "show", line])?["thing"]["attributes"]["line"], line);
    }
    Ok(())
}

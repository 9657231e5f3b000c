//! The dry run tells what a first connection would do, and does nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::registry::CreateThing;
use jitp_provisioner::{ReasonCode, RegistryError, Simulation};
use support::*;

fn effects(simulation: &Simulation) -> Vec<(String, bool, String)> {
    simulation.existing.iter().map(|e| (e.what.clone(), e.exists, e.effect.clone())).collect()
}

#[tokio::test]
async fn a_dry_run_shows_plan_effects_and_permissions_and_writes_nothing() {
    let site = Site::new().await;
    let device = Device::new(&authority("Plant"), "pump-1");
    site.create_group("inbound", None).await;
    let before = site.provisioner.changes().latest();
    let body = template(r#","ThingGroups":["inbound"]"#, "");
    let simulation = site.provisioner.simulate(&body, &device.pem).await.unwrap();
    assert_eq!(simulation.failure, None);
    assert_eq!(simulation.plan.thing.as_ref().unwrap().name, thing("pump-1"));
    let effects = effects(&simulation);
    assert_eq!(effects[0], ("thing pump-1".into(), false, "created".into()));
    assert_eq!(effects[1], ("thing group inbound".into(), true, "reused".into()));
    assert_eq!(effects[2].2, "created");
    assert_eq!(effects[3].2, "created");
    assert!(simulation.permissions.to_string().contains("iot:Connect"), "{}", simulation.permissions);
    assert_eq!(site.provisioner.changes().latest(), before);
    assert_eq!((site.thing("pump-1").await, site.certificate(&device).await), (None, None));
}

#[tokio::test]
async fn a_dry_run_shows_what_each_override_would_do() {
    let site = Site::new().await;
    let device = Device::new(&authority("Plant"), "pump-1");
    site.registry().create_thing(thing("pump-1"), CreateThing::default()).await.unwrap();
    for (rule, effect) in
        [("DO_NOTHING", "kept"), ("REPLACE", "replaced"), ("MERGE", "merged"), ("FAIL", "FAIL: ")]
    {
        let overrides = format!(r#","OverrideSettings":{{"AttributePayload":"{rule}"}}"#);
        let body = template(r#","AttributePayload":{"line":"7"}"#, &overrides);
        let simulation = site.provisioner.simulate(&body, &device.pem).await.unwrap();
        let found = effects(&simulation);
        let (_, _, told) = found.iter().find(|(what, ..)| what == "attributes of thing pump-1").unwrap();
        assert!(told.starts_with(effect), "{rule}: {told}");
        let failed = simulation.failure.map(|(reason, _)| reason);
        assert_eq!(failed, (rule == "FAIL").then_some(ReasonCode::ResourceConflict));
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_first_failure_with_its_reason() {
    let site = Site::new().await;
    let ca = authority("Plant");
    let device = Device::new(&ca, "pump-1");
    let missing = template(r#","ThingGroups":["missing"]"#, "");
    let simulation = site.provisioner.simulate(&missing, &device.pem).await.unwrap();
    assert_eq!(simulation.failure.unwrap().0, ReasonCode::ThingGroupNotFound);
    let nameless = Device::with(&ca, &[(jitp_certs::Attribute::Country, "NO")], validity());
    let simulation = site.provisioner.simulate(&plain(), &nameless.pem).await.unwrap();
    assert_eq!(simulation.failure.unwrap().0, ReasonCode::MissingParameter);
    for (body, pem) in [("{}", device.pem.as_str()), (&plain(), "no certificate")] {
        let error = site.provisioner.simulate(body, pem).await.unwrap_err();
        assert!(matches!(error, RegistryError::InvalidRequest(_)), "{error}");
    }
}

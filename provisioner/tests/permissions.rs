//! Which policies a connection gets, and from what.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_policies::Action;
use jitp_provisioner::records::{PolicyTarget, PrincipalType};
use jitp_provisioner::registry::{CreateThing, UpdateThing};
use jitp_provisioner::{ConnectContext, Dependency, Granted, Options, Principal};
use std::sync::Arc;
use support::*;

fn connect(client_id: &str) -> ConnectContext {
    ConnectContext {
        client_id: client_id.into(),
        source_ip: SOURCE.ip(),
        server_name: None,
        persistent: false,
        will_topic: None,
    }
}
fn allow(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}",
            "Resource":"arn:aws:iot:us-east-1:000000000000:{resource}"}}]}}"#
    )
}

/// A site with one device that is ACTIVE and has no policy and no thing.
async fn bare(options: Options) -> (Site, Device, Principal) {
    let site = Site::with(options).await;
    let ca = authority("Plant");
    site.register(&ca, None).await;
    let device = Device::new(&ca, "pump-1");
    site.refused(&device).await;
    let active = jitp_provisioner::records::CertificateStatus::Active;
    site.registry().update_certificate(device.id, active).await.unwrap();
    let principal = site.admitted(&device).await;
    (site, device, principal)
}
async fn granted(site: &Site, principal: &Principal, client_id: &str) -> Granted {
    site.provisioner.permissions(principal, &connect(client_id)).await.unwrap()
}
async fn may(site: &Site, principal: &Principal, client_id: &str, action: Action, name: &str) -> bool {
    granted(site, principal, client_id).await.permissions.decide(action, name).is_allowed()
}

#[tokio::test]
async fn a_certificate_without_policies_may_nothing_and_depends_on_what_could_come() {
    let (site, device, principal) = bare(Options::default()).await;
    let granted = granted(&site, &principal, "pump-1").await;
    assert!(!granted.permissions.decide(Action::Connect, "pump-1").is_allowed());
    assert_eq!(granted.depends_on, [Dependency::Certificate(device.id), Dependency::Thing(thing("pump-1"))]);
}

#[tokio::test]
async fn a_policy_applies_in_its_default_version_from_its_attachment_on() {
    let (site, device, principal) = bare(Options::default()).await;
    site.create_policy("p", &allow("iot:Connect", "client/*")).await;
    let target = PolicyTarget::Certificate(device.id);
    site.registry().attach_policy(&policy("p"), target.clone()).await.unwrap();
    assert!(may(&site, &principal, "x", Action::Connect, "x").await);
    assert!(granted(&site, &principal, "x").await.depends_on.contains(&Dependency::Policy(policy("p"))));
    site.registry()
        .create_policy_version(&policy("p"), &allow("iot:Publish", "topic/*"), true)
        .await
        .unwrap();
    assert!(!may(&site, &principal, "x", Action::Connect, "x").await);
    assert!(may(&site, &principal, "x", Action::Publish, "a/b").await);
    site.registry().detach_policy(&policy("p"), &target).await.unwrap();
    assert!(!may(&site, &principal, "x", Action::Publish, "a/b").await);
}

#[tokio::test]
async fn a_policy_deleted_and_created_again_is_not_taken_for_the_old_one() {
    let (site, device, principal) = bare(Options::default()).await;
    let target = PolicyTarget::Certificate(device.id);
    for (document, connects) in [("client/*", true), ("client/other", false)] {
        site.create_policy("p", &allow("iot:Connect", document)).await;
        site.registry().attach_policy(&policy("p"), target.clone()).await.unwrap();
        assert_eq!(may(&site, &principal, "x", Action::Connect, "x").await, connects, "{document}");
        site.registry().detach_policy(&policy("p"), &target).await.unwrap();
        site.registry().delete_policy(&policy("p")).await.unwrap();
    }
}

#[tokio::test]
async fn the_thing_is_the_one_named_like_the_client_id_unless_one_is_exclusive() {
    let (site, device, principal) = bare(Options::default()).await;
    site.create_policy("p", &allow("iot:Connect", "client/${iot:Connection.Thing.ThingName}")).await;
    site.registry().attach_policy(&policy("p"), PolicyTarget::Certificate(device.id)).await.unwrap();
    assert!(!may(&site, &principal, "pump-1", Action::Connect, "pump-1").await, "no such thing");
    for name in ["pump-1", "pump-2"] {
        site.registry().create_thing(thing(name), CreateThing::default()).await.unwrap();
    }
    assert!(!may(&site, &principal, "pump-1", Action::Connect, "pump-1").await, "not attached");
    let shared = PrincipalType::NonExclusiveThing;
    site.registry().attach_thing_principal(&thing("pump-1"), device.id, shared).await.unwrap();
    assert!(may(&site, &principal, "pump-1", Action::Connect, "pump-1").await);
    assert!(!may(&site, &principal, "pump-2", Action::Connect, "pump-2").await);

    site.registry().detach_thing_principal(&thing("pump-1"), device.id).await.unwrap();
    let exclusive = PrincipalType::ExclusiveThing;
    site.registry().attach_thing_principal(&thing("pump-2"), device.id, exclusive).await.unwrap();
    assert!(may(&site, &principal, "anything", Action::Connect, "pump-2").await);
    assert!(
        granted(&site, &principal, "anything").await.depends_on.contains(&Dependency::Thing(thing("pump-2")))
    );
    assert_eq!(site.admitted(&device).await.exclusive_thing, Some(thing("pump-2")));
}

#[tokio::test]
async fn a_thing_that_is_not_attached_resolves_only_where_the_option_says_so() {
    for (require, resolves) in [(true, false), (false, true)] {
        let options = Options { thing_vars_require_attachment: require, ..Options::default() };
        let (site, device, principal) = bare(options).await;
        site.create_policy("p", &allow("iot:Connect", "client/${iot:Connection.Thing.ThingName}")).await;
        site.registry().attach_policy(&policy("p"), PolicyTarget::Certificate(device.id)).await.unwrap();
        site.registry().create_thing(thing("pump-1"), CreateThing::default()).await.unwrap();
        assert_eq!(may(&site, &principal, "pump-1", Action::Connect, "pump-1").await, resolves);
    }
}

#[tokio::test]
async fn policies_of_groups_and_of_the_groups_above_apply_to_an_attached_thing() {
    let (site, device, principal) = bare(Options::default()).await;
    site.create_group("site", None).await;
    site.create_group("hall", Some("site")).await;
    site.create_group("elsewhere", None).await;
    for (name, group_name) in [("top", "site"), ("low", "hall"), ("far", "elsewhere")] {
        site.create_policy(name, &allow("iot:Publish", &format!("topic/{name}"))).await;
        site.registry()
            .attach_policy(&policy(name), PolicyTarget::ThingGroup(group(group_name)))
            .await
            .unwrap();
    }
    site.registry().create_thing(thing("pump-1"), CreateThing::default()).await.unwrap();
    site.registry().add_thing_to_group(&thing("pump-1"), &group("hall")).await.unwrap();
    assert!(!may(&site, &principal, "pump-1", Action::Publish, "top").await, "not attached yet");
    let shared = PrincipalType::NonExclusiveThing;
    site.registry().attach_thing_principal(&thing("pump-1"), device.id, shared).await.unwrap();
    let granted = granted(&site, &principal, "pump-1").await;
    for (topic, allowed) in [("top", true), ("low", true), ("far", false)] {
        assert_eq!(granted.permissions.decide(Action::Publish, topic).is_allowed(), allowed, "{topic}");
    }
    for name in ["site", "hall"] {
        assert!(granted.depends_on.contains(&Dependency::ThingGroup(group(name))), "{name}");
    }
    assert!(!may(&site, &principal, "pump-2", Action::Publish, "top").await, "another client id");
}

#[tokio::test]
async fn attributes_and_certificate_fields_are_there_for_policies() {
    let (site, device, principal) = bare(Options::default()).await;
    let resource = "topic/${iot:Connection.Thing.Attributes[line]}/${iot:Certificate.Subject.CommonName}";
    site.create_policy("p", &allow("iot:Publish", resource)).await;
    site.registry().attach_policy(&policy("p"), PolicyTarget::Certificate(device.id)).await.unwrap();
    site.registry().create_thing(thing("gw"), CreateThing::default()).await.unwrap();
    let shared = PrincipalType::NonExclusiveThing;
    site.registry().attach_thing_principal(&thing("gw"), device.id, shared).await.unwrap();
    assert!(!may(&site, &principal, "gw", Action::Publish, "7/pump-1").await);
    let update = UpdateThing {
        attributes: Some([("line".parse_name(), "7".parse_value())].into()),
        ..UpdateThing::default()
    };
    site.registry().update_thing(&thing("gw"), update).await.unwrap();
    assert!(may(&site, &principal, "gw", Action::Publish, "7/pump-1").await);
}

/// Every change that alters the permissions of a live session touches one of the things that they depend on.
#[tokio::test]
async fn whatever_changes_the_permissions_touches_a_dependency() {
    let (site, device, principal) = bare(Options::default()).await;
    let site = Arc::new(site);
    site.create_policy("own", &allow("iot:Connect", "client/${iot:Connection.Thing.ThingName}")).await;
    site.create_policy("grouped", &allow("iot:Publish", "topic/a")).await;
    site.create_group("site", None).await;
    site.create_group("hall", Some("site")).await;
    let registry = site.registry();
    let certificate = PolicyTarget::Certificate(device.id);
    let shared = PrincipalType::NonExclusiveThing;
    let line = UpdateThing {
        attributes: Some([("line".parse_name(), "7".parse_value())].into()),
        ..UpdateThing::default()
    };
    let (own, grouped, pump) = (policy("own"), policy("grouped"), thing("pump-1"));
    let wider = allow("iot:*", "*");
    type Step<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;
    let steps: Vec<(&str, Step<'_>)> = vec![
        (
            "attach policy",
            Box::pin(async { registry.attach_policy(&own, certificate.clone()).await.unwrap() }),
        ),
        (
            "create thing",
            Box::pin(async {
                drop(registry.create_thing(pump.clone(), CreateThing::default()).await.unwrap())
            }),
        ),
        (
            "attach thing",
            Box::pin(async { registry.attach_thing_principal(&pump, device.id, shared).await.unwrap() }),
        ),
        ("attribute", Box::pin(async { registry.update_thing(&pump, line).await.unwrap() })),
        ("join group", Box::pin(async { registry.add_thing_to_group(&pump, &group("hall")).await.unwrap() })),
        (
            "policy of the group above",
            Box::pin(async {
                registry.attach_policy(&grouped, PolicyTarget::ThingGroup(group("site"))).await.unwrap();
            }),
        ),
        (
            "new default version",
            Box::pin(async {
                drop(registry.create_policy_version(&grouped, &wider, true).await.unwrap());
            }),
        ),
        (
            "leave group",
            Box::pin(async { registry.remove_thing_from_group(&pump, &group("hall")).await.unwrap() }),
        ),
        (
            "detach thing",
            Box::pin(async { registry.detach_thing_principal(&pump, device.id).await.unwrap() }),
        ),
    ];
    for (what, step) in steps {
        let depends_on = granted(&site, &principal, "pump-1").await.depends_on;
        let before = site.provisioner.changes().latest();
        step.await;
        let changes = site.provisioner.changes().since(before, 1000).await.unwrap();
        let touched = changes.iter().flat_map(|entry| entry.change.touches());
        assert!(
            touched.into_iter().any(|dependency| depends_on.contains(&dependency)),
            "{what}: {changes:?}"
        );
    }
}

#[tokio::test]
async fn permissions_from_what_the_admission_has_read_are_those_that_are_read_again() {
    let site = Site::new().await;
    site.create_group("hall", None).await;
    site.create_policy("grouped", &allow("iot:Publish", "topic/hall/${iot:Connection.Thing.ThingName}"))
        .await;
    let target = PolicyTarget::ThingGroup(group("hall"));
    site.registry().attach_policy(&policy("grouped"), target).await.unwrap();
    let template = template(r#","ThingGroups":["hall"]"#, "");
    let ca = authority("Plant");
    site.register(&ca, Some(&template)).await;
    let device = Device::new(&ca, "pump-1");
    for first in [true, false] {
        let principal = site.admitted(&device).await;
        assert_eq!(principal.provisioned_now, first);
        let (from_memory, read_again) =
            (granted(&site, &principal, "pump-1").await, granted(&site, &principal, "pump-1").await);
        assert!(from_memory.permissions.decide(Action::Publish, "hall/pump-1").is_allowed());
        assert_eq!(from_memory.permissions.describe(), read_again.permissions.describe());
        assert_eq!(from_memory.depends_on, read_again.depends_on);
        // With another client id, other things count.
        let principal = site.admitted(&device).await;
        let other = granted(&site, &principal, "other").await;
        assert_eq!(other.depends_on, granted(&site, &principal, "other").await.depends_on);
    }
}

#[tokio::test]
async fn what_changes_after_the_admission_is_in_its_permissions_or_in_the_changes_after_it() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    for first in [true, false] {
        let principal = site.admitted(&device).await;
        assert_eq!(principal.provisioned_now, first);
        let name = policy(&site.policies_of(&device).await[0]);
        let nothing = allow("iot:Connect", &format!("client/nobody-{first}"));
        site.registry().create_policy_version(&name, &nothing, true).await.unwrap();
        let entered = granted(&site, &principal, "pump-1").await;
        let changes = site.provisioner.changes().since(principal.as_of, 1000).await.unwrap();
        let mut touched = changes.iter().flat_map(|entry| entry.change.touches());
        let is_in_it = !entered.permissions.decide(Action::Connect, "pump-1").is_allowed();
        assert!(is_in_it || touched.any(|dependency| entered.depends_on.contains(&dependency)));
        // Computed again, as a live session does, it is in it.
        assert!(!may(&site, &principal, "pump-1", Action::Connect, "pump-1").await);
        assert!(may(&site, &principal, "pump-1", Action::Connect, &format!("nobody-{first}")).await);
    }
}

trait Parse {
    fn parse_name(&self) -> jitp_provisioner::names::AttributeName;
    fn parse_value(&self) -> jitp_provisioner::names::AttributeValue;
}
impl Parse for str {
    fn parse_name(&self) -> jitp_provisioner::names::AttributeName {
        jitp_provisioner::names::AttributeName::new(self).unwrap()
    }
    fn parse_value(&self) -> jitp_provisioner::names::AttributeValue {
        jitp_provisioner::names::AttributeValue::new(self).unwrap()
    }
}

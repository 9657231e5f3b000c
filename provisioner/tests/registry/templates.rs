use super::*;
use jitp_provisioner::registry::{CreateTemplate, UpdateTemplate};
use jitp_provisioner::{Callback, Callbacks};

const HOOK: &str = "arn:aws:lambda:us-east-1:000000000000:function:check";

/// A registry that knows a hook.
async fn with_hook() -> Fixture {
    struct Never;
    #[async_trait::async_trait]
    impl Callback for Never {
        async fn call(&self, _: &[u8]) -> Result<Vec<u8>, String> {
            Err("nobody asks here".into())
        }
    }
    Fixture::with(|options| options.callbacks = Callbacks::default().with(HOOK, Arc::new(Never), 1)).await
}

fn template(name: &str) -> CreateTemplate {
    CreateTemplate {
        name: name.parse().unwrap(),
        template_type: TemplateType::Jitp,
        body: JITP_BODY.into(),
        description: None,
        enabled: true,
        role_arn: ROLE.into(),
        hook: None,
        tags: Default::default(),
    }
}
fn hook(version: &str) -> Option<ProvisioningHook> {
    Some(ProvisioningHook { payload_version: version.into(), target_arn: HOOK.into() })
}

#[tokio::test]
async fn a_template_is_checked_before_it_is_stored() {
    let fixture = with_hook().await;
    let fleet = CreateTemplate { template_type: TemplateType::FleetProvisioning, ..template("x") };
    for (new, expected) in [
        (CreateTemplate { body: "{}".into(), ..template("x") }, "IR"),
        (CreateTemplate { body: "no json".into(), ..template("x") }, "IR"),
        (CreateTemplate { role_arn: "short".into(), ..template("x") }, "IR"),
        (CreateTemplate { description: Some("x".repeat(501)), ..template("x") }, "IR"),
        (CreateTemplate { hook: hook("2020-04-01"), ..template("x") }, "IR"),
        (CreateTemplate { hook: hook("2021-01-01"), ..fleet.clone() }, "IR"),
    ] {
        assert_eq!(kind(fixture.registry.create_template(new).await), expected);
    }
    assert!(fixture.registry.list_templates(&first(9)).await.unwrap().items.is_empty());
    let with_hook = CreateTemplate { hook: hook("2020-04-01"), ..fleet };
    let record = fixture.registry.create_template(with_hook).await.unwrap();
    assert_eq!((record.default_version, record.next_version), (1, 2));
    assert_eq!(kind(fixture.registry.create_template(template("x")).await), "AE");
}

#[tokio::test]
async fn a_template_has_at_most_five_versions_and_numbers_are_not_reused() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let name = registry.create_template(template("t")).await.unwrap().name;
    for expected in 2..=5 {
        let version = registry.create_template_version(&name, JITP_BODY, expected == 2).await.unwrap();
        assert_eq!(version.version, expected);
    }
    assert_eq!(kind(registry.create_template_version(&name, JITP_BODY, true).await), "VL");
    assert_eq!(kind(registry.create_template_version(&name, "{}", true).await), "IR");
    assert_eq!(registry.template(&name).await.unwrap().default_version, 2);
    assert_eq!(registry.template_version(&name, 2).await.unwrap().body, JITP_BODY);
    registry.set_default_template_version(&name, 1).await.unwrap();
    assert_eq!(kind(registry.set_default_template_version(&name, 9).await), "IR");
    assert_eq!(kind(registry.delete_template_version(&name, 1).await), "DC");
    registry.delete_template_version(&name, 5).await.unwrap();
    assert_eq!(registry.create_template_version(&name, JITP_BODY, false).await.unwrap().version, 6);
    assert_eq!(registry.list_template_versions(&name).await.unwrap().len(), 5);
    registry.delete_template(&name).await.unwrap();
    assert_eq!(kind(registry.template_version(&name, 1).await), "NF");
    assert_eq!(kind(registry.delete_template(&name).await), "NF");
}

#[tokio::test]
async fn there_are_at_most_as_many_templates_as_configured() {
    let fixture = Fixture::with(|o| o.templates = 3).await;
    for name in ["a", "b", "c"] {
        fixture.registry.create_template(template(name)).await.unwrap();
    }
    assert_eq!(kind(fixture.registry.create_template(template("d")).await), "LE");
    fixture.registry.delete_template(&"b".parse().unwrap()).await.unwrap();
    fixture.registry.create_template(template("d")).await.unwrap();
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let name = registry.create_template(template("t")).await.unwrap().name;
    let before = registry.template(&name).await.unwrap();
    registry.update_template(&name, UpdateTemplate::default()).await.unwrap();
    assert_eq!(registry.template(&name).await.unwrap(), before);
    fixture.later(5);
    let update = UpdateTemplate { description: Some("new".into()), ..Default::default() };
    registry.update_template(&name, update).await.unwrap();
    let after = registry.template(&name).await.unwrap();
    assert_eq!((after.description.as_deref(), after.enabled), (Some("new"), before.enabled));
    assert!(after.modified_at > before.modified_at);
    let unknown = UpdateTemplate { default_version: Some(7), enabled: Some(true), ..Default::default() };
    assert_eq!(kind(registry.update_template(&name, unknown).await), "IR");
    assert_eq!(registry.template(&name).await.unwrap(), after, "all or nothing");
}

//! What another version of a template would have decided for attempts that there were.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::names::TemplateName;
use jitp_provisioner::records::{RegistrationConfig, TemplateType};
use jitp_provisioner::registry::CreateTemplate;
use jitp_provisioner::{Attempt, Outcome, RegistryError, ReplayPage, ReplayRequest, Timestamp};
use support::*;

fn name() -> TemplateName {
    TemplateName::new("plant").unwrap()
}

async fn site(body: &str) -> (Site, jitp_provisioner::certs::Authority) {
    let site = Site::new().await;
    let template = CreateTemplate {
        name: name(),
        template_type: TemplateType::Jitp,
        body: body.into(),
        description: None,
        enabled: true,
        role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
        hook: None,
        tags: Default::default(),
    };
    site.registry().create_template(template).await.unwrap();
    let ca = authority("Plant");
    let config = RegistrationConfig { template_name: Some(name()), template_body: None, role_arn: None };
    site.register_with(&ca, Some(config)).await;
    (site, ca)
}

async fn replay(site: &Site, version: u32) -> ReplayPage {
    let request =
        ReplayRequest { template: name(), version, since: Timestamp(0), before: None, limit: 1_000 };
    site.provisioner.replay(&request).await.unwrap()
}

async fn version(site: &Site, body: &str) -> u32 {
    site.registry().create_template_version(&name(), body, false).await.unwrap().version
}

/// `SUBJECT: WHAT WAS → WOULD BE`, oldest first.
fn told(page: &ReplayPage) -> Vec<String> {
    let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
    let mut told: Vec<String> = Vec::new();
    for difference in page.differences.iter().rev() {
        for change in &difference.changes {
            let subject = difference.subject.as_deref().unwrap_or("?");
            told.push(format!(
                "{subject}: {} {} → {}",
                change.what,
                text(&change.was),
                text(&change.would_be)
            ));
        }
    }
    told
}

#[tokio::test]
async fn the_version_that_decided_would_decide_the_same() {
    let (site, ca) = site(&template("", "")).await;
    for name in ["pump-1", "pump-2", "not a name"] {
        site.knock(&Device::new(&ca, name)).await;
    }
    let page = replay(&site, 1).await;
    assert_eq!((page.compared, page.differences.len(), page.next_before), (3, 0, None));
}

#[tokio::test]
async fn another_version_is_told_by_what_it_would_do_otherwise_and_writes_nothing() {
    let (site, ca) = site(&template(r#","AttributePayload":{"line":"7","site":"oslo"}"#, "")).await;
    site.admitted(&Device::new(&ca, "pump-1")).await;
    let same = version(&site, &template(r#","AttributePayload":{"site":"oslo","line":"7"}"#, "")).await;
    assert_eq!(told(&replay(&site, same).await), Vec::<String>::new());
    let other =
        version(&site, &template(r#","ThingTypeName":"pump","AttributePayload":{"line":"8"}"#, "")).await;
    let before = (site.changes().await.len(), site.attempts(1).await.len());
    assert_eq!(
        told(&replay(&site, other).await),
        [
            "CN=pump-1: attributes.line 7 → 8",
            "CN=pump-1: attributes.site oslo → -",
            "CN=pump-1: thingType - → pump",
        ]
    );
    assert_eq!((site.changes().await.len(), site.attempts(1).await.len()), before);
    assert_eq!(site.thing("pump-1").await.unwrap().version, 1);
}

#[tokio::test]
async fn a_parameter_that_the_old_version_did_not_declare_is_read_from_the_certificate() {
    let (site, ca) = site(&plain()).await;
    use jitp_provisioner::certs::Attribute;
    let subject = [(Attribute::CommonName, "pump-1"), (Attribute::OrganizationalUnit, "line-7")];
    site.admitted(&Device::with(&ca, &subject, validity())).await;
    site.admitted(&Device::new(&ca, "pump-2")).await;
    let body =
        template(r#","AttributePayload":{"line":{"Ref":"AWS::IoT::Certificate::OrganizationalUnit"}}"#, "")
            .replacen(
                "{\"Parameters\":{",
                "{\"Parameters\":{\"AWS::IoT::Certificate::OrganizationalUnit\":{\"Type\":\"String\"},",
                1,
            );
    let stricter = version(&site, &body).await;
    let told = told(&replay(&site, stricter).await);
    assert!(told[0].ends_with("attributes.line - → line-7"), "{told:?}");
    assert_eq!(told[1], "CN=pump-2: outcome provisioned → refused");
    assert!(told[2].starts_with("CN=pump-2: reason - → "), "{told:?}");
    assert_eq!(told[3], "CN=pump-2: thingName pump-2 → -");
}

#[tokio::test]
async fn a_device_that_was_refused_is_tried_on_the_registry_as_it_is_now() {
    let (site, ca) = site(&template(r#","ThingGroups":["line"]"#, "")).await;
    site.refused(&Device::new(&ca, "pump-1")).await;
    let without = version(&site, &plain()).await;
    let lets_in = [
        "CN=pump-1: outcome refused → provisioned",
        "CN=pump-1: reason THING_GROUP_NOT_FOUND → -",
        "CN=pump-1: thingName - → pump-1",
    ];
    assert_eq!(told(&replay(&site, without).await), lets_in);
    assert_eq!(told(&replay(&site, 1).await), Vec::<String>::new());
    site.create_group("line", None).await;
    assert_eq!(told(&replay(&site, 1).await), lets_in, "the group is there now");
    assert!(site.thing("pump-1").await.is_none());
}

#[tokio::test]
async fn attempts_come_in_pages_from_a_time_on_and_those_of_others_do_not_count() {
    let (site, ca) = site(&plain()).await;
    let inline = authority("Inline");
    site.register(&inline, Some(&plain())).await;
    site.admitted(&Device::new(&inline, "other")).await;
    site.admitted(&Device::new(&ca, "early")).await;
    site.pass(60_000);
    for number in 0..5 {
        site.admitted(&Device::new(&ca, &format!("late-{number}"))).await;
    }
    let other = version(&site, &template(r#","AttributePayload":{"line":"8"}"#, "")).await;
    let (mut subjects, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let since = Timestamp(NOW + 30_000);
        let request = ReplayRequest { template: name(), version: other, since, before, limit: 2 };
        let page = site.provisioner.replay(&request).await.unwrap();
        subjects.extend(page.differences.into_iter().filter_map(|difference| difference.subject));
        pages += 1;
        before = page.next_before;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(subjects, [4, 3, 2, 1, 0].map(|number| format!("CN=late-{number}")));
    assert!(pages >= 3);
    assert_eq!(replay(&site, other).await.compared, 6);
    let all: Vec<Attempt> = site.attempts(7).await;
    assert!(all.iter().all(|attempt| attempt.outcome == Outcome::Provisioned));
    let request =
        ReplayRequest { template: name(), version: 99, since: Timestamp(0), before: None, limit: 10 };
    assert!(matches!(site.provisioner.replay(&request).await, Err(RegistryError::NotFound { .. })));
}

#[tokio::test]
async fn of_a_version_that_is_gone_only_what_the_attempt_recorded_is_compared() {
    let (site, ca) = site(&plain()).await;
    site.admitted(&Device::new(&ca, "pump-1")).await;
    let other = version(&site, &template(r#","AttributePayload":{"line":"8"}"#, "")).await;
    site.registry().set_default_template_version(&name(), other).await.unwrap();
    site.registry().delete_template_version(&name(), 1).await.unwrap();
    assert_eq!(told(&replay(&site, other).await), Vec::<String>::new());
}

//! A template meets a thing that exists already (`spec/templates.md` section 4), through real first connections.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::names::{AttributeName, AttributeValue, ThingTypeName};
use jitp_provisioner::registry::CreateThing;
use jitp_provisioner::{Options, ReasonCode};
use std::collections::BTreeMap;
use support::*;

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<AttributeName, AttributeValue> {
    pairs.iter().map(|(n, v)| (AttributeName::new(n).unwrap(), AttributeValue::new(v).unwrap())).collect()
}

/// A thing `pump-1` with attributes a=1, b=2, type `old`, group `inbound`; types `old`, `new`, groups `inbound`, `floor`.
async fn furnished(options: Options) -> Site {
    let site = Site::with(options).await;
    for name in ["old", "new"] {
        site.registry().create_thing_type(ThingTypeName::new(name).unwrap(), None, vec![]).await.unwrap();
    }
    site.create_group("inbound", None).await;
    site.create_group("floor", None).await;
    let create = CreateThing {
        thing_type: Some(ThingTypeName::new("old").unwrap()),
        attributes: attributes(&[("a", "1"), ("b", "2")]),
        billing_group: None,
    };
    site.registry().create_thing(thing("pump-1"), create).await.unwrap();
    site.registry().add_thing_to_group(&thing("pump-1"), &group("inbound")).await.unwrap();
    site
}

const WANTED: &str = r#","AttributePayload":{"b":"3","c":"4"},"ThingTypeName":"new","ThingGroups":["floor"]"#;

async fn outcome(overrides: &str, options: Options) -> Result<(String, String, Vec<String>), ReasonCode> {
    let site = furnished(options).await;
    let ca = authority("Plant");
    let overrides = format!(r#","OverrideSettings":{{{overrides}}}"#);
    site.register(&ca, Some(&template(WANTED, &overrides))).await;
    let device = Device::new(&ca, "pump-1");
    let admission = site.knock(&device).await;
    let record = site.thing("pump-1").await.unwrap();
    if let jitp_provisioner::Admission::Refused(refusal) = admission {
        assert_eq!(record.version, 1, "nothing of a failed run remains");
        assert!(site.things_of(&device).await.is_empty());
        return Err(refusal.reason);
    }
    let attributes: Vec<String> = record.attributes.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let kind = record.thing_type.map(|t| t.to_string()).unwrap_or_default();
    Ok((attributes.join(" "), kind, site.groups_of("pump-1").await))
}

#[tokio::test]
async fn every_override_does_what_the_table_says() {
    let rows = [
        ("", "a=1 b=2", "old", vec!["inbound"]),
        (r#""AttributePayload":"DO_NOTHING""#, "a=1 b=2", "old", vec!["inbound"]),
        (r#""AttributePayload":"REPLACE""#, "b=3 c=4", "old", vec!["inbound"]),
        (r#""AttributePayload":"MERGE""#, "a=1 b=3 c=4", "old", vec!["inbound"]),
        (r#""ThingTypeName":"REPLACE""#, "a=1 b=2", "new", vec!["inbound"]),
        (r#""ThingGroups":"REPLACE""#, "a=1 b=2", "old", vec!["floor"]),
        (r#""ThingGroups":"MERGE""#, "a=1 b=2", "old", vec!["floor", "inbound"]),
    ];
    for (overrides, attributes, kind, groups) in rows {
        let (found_attributes, found_kind, found_groups) =
            outcome(overrides, Options::default()).await.unwrap();
        assert_eq!((&*found_attributes, &*found_kind), (attributes, kind), "{overrides}");
        assert_eq!(found_groups, groups, "{overrides}");
    }
    for property in ["AttributePayload", "ThingTypeName", "ThingGroups"] {
        let overrides = format!(r#""{property}":"FAIL""#);
        assert_eq!(
            outcome(&overrides, Options::default()).await,
            Err(ReasonCode::ResourceConflict),
            "{property}"
        );
    }
}

#[tokio::test]
async fn a_strict_site_fails_where_the_template_does_not_say() {
    let strict = Options { override_default_fail: true, ..Options::default() };
    assert_eq!(outcome("", strict).await, Err(ReasonCode::ResourceConflict));
}

#[tokio::test]
async fn fail_is_satisfied_when_nothing_would_change() {
    let site = furnished(Options::default()).await;
    let ca = authority("Plant");
    let same = r#","AttributePayload":{"a":"1","b":"2"},"ThingTypeName":"old","ThingGroups":["inbound"]"#;
    let fail =
        r#","OverrideSettings":{"AttributePayload":"FAIL","ThingTypeName":"FAIL","ThingGroups":"FAIL"}"#;
    site.register(&ca, Some(&template(same, fail))).await;
    site.admitted(&Device::new(&ca, "pump-1")).await;
    assert_eq!(site.thing("pump-1").await.unwrap().version, 1);
}

#[tokio::test]
async fn a_second_certificate_on_the_same_thing_leaves_the_first_attached() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let (first, second) = (Device::new(&ca, "pump-1"), Device::new(&ca, "pump-1"));
    site.admitted(&first).await;
    site.admitted(&second).await;
    let page = site.registry().list_thing_principals(&thing("pump-1"), None, &all()).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(
        site.policies_of(&first).await,
        site.policies_of(&second).await,
        "one inline policy is shared"
    );
}

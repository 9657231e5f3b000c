use super::*;
use jitp_provisioner::registry::{ThingFilter, UpdateThing};

#[tokio::test]
async fn creating_a_thing_twice_is_a_success_only_with_the_same_content() {
    let fixture = Fixture::new().await;
    let content = CreateThing { attributes: attributes(&[("line", "7")]), ..CreateThing::default() };
    let created = fixture.registry.create_thing(thing("pump"), content.clone()).await.unwrap();
    assert_eq!((created.version, created.thing_id.len()), (1, 36));
    let before = fixture.revision();
    assert_eq!(fixture.registry.create_thing(thing("pump"), content).await.unwrap(), created);
    assert!(fixture.happened(before).await.is_empty());
    let other = fixture.registry.create_thing(thing("pump"), CreateThing::default()).await.unwrap_err();
    let RegistryError::AlreadyExists { id, arn, .. } = other else { panic!("{other:?}") };
    assert_eq!((id, arn.as_str()), (created.thing_id, "arn:aws:iot:us-east-1:000000000000:thing/pump"));
}

#[tokio::test]
async fn a_thing_needs_its_type_and_billing_group_to_exist_and_its_type_not_to_be_deprecated() {
    let fixture = Fixture::new().await;
    let of_type = CreateThing { thing_type: Some("t".parse().unwrap()), ..CreateThing::default() };
    let billed = CreateThing { billing_group: Some("b".parse().unwrap()), ..CreateThing::default() };
    let create =
        async |name: &str, t: &CreateThing| fixture.registry.create_thing(thing(name), t.clone()).await;
    assert_eq!(kind(create("x", &of_type).await), "NF");
    assert_eq!(kind(create("x", &billed).await), "NF");
    fixture.registry.create_thing_type("t".parse().unwrap(), None, vec![]).await.unwrap();
    fixture.registry.create_billing_group("b".parse().unwrap(), None).await.unwrap();
    create("typed", &of_type).await.unwrap();
    create("billed", &billed).await.unwrap();
    fixture.registry.deprecate_thing_type(&"t".parse().unwrap(), false).await.unwrap();
    assert_eq!(kind(create("late", &of_type).await), "IR");
    let keep = UpdateThing { thing_type: Some("t".parse().unwrap()), ..UpdateThing::default() };
    fixture.registry.update_thing(&thing("typed"), keep.clone()).await.unwrap();
    assert_eq!(kind(fixture.registry.update_thing(&thing("billed"), keep).await), "IR");
}

#[tokio::test]
async fn attributes_are_limited_by_number_and_may_be_as_long_as_names_and_values_can_be() {
    let fixture = Fixture::new().await;
    fixture.registry.create_thing_type("t".parse().unwrap(), None, vec![]).await.unwrap();
    let long = "v".repeat(800);
    for (count, value, typed, ok) in [
        (3, "v", false, true),
        (4, "v", false, false),
        (50, "v", true, true),
        (51, "v", true, false),
        (50, long.as_str(), true, true),
    ] {
        let names: Vec<String> = (0..count).map(|i| format!("a{i}")).collect();
        let list: Vec<_> = names.iter().map(|n| (n.as_str(), value)).collect();
        let content = CreateThing {
            thing_type: typed.then(|| "t".parse().unwrap()),
            attributes: attributes(&list),
            billing_group: None,
        };
        let name = thing(&format!("thing-{count}-{}", value.len()));
        let result = fixture.registry.create_thing(name, content).await;
        if ok { assert!(result.is_ok()) } else { assert_eq!(kind(result), "IR") }
    }
    let wide: Vec<String> = (0..50).map(|i| format!("{}{i:03}", "n".repeat(125))).collect();
    let list: Vec<_> = wide.iter().map(|n| (n.as_str(), long.as_str())).collect();
    let content = CreateThing {
        thing_type: Some("t".parse().unwrap()),
        attributes: attributes(&list),
        billing_group: None,
    };
    fixture.registry.create_thing(thing("wide"), content).await.unwrap();
}

#[tokio::test]
async fn an_update_merges_replaces_and_removes_attributes_and_counts_versions() {
    let fixture = Fixture::new().await;
    let content = CreateThing { attributes: attributes(&[("a", "1"), ("b", "2")]), ..CreateThing::default() };
    fixture.registry.create_thing(thing("pump"), content).await.unwrap();
    let update = async |list: &[(&str, &str)], merge| {
        let update = UpdateThing { attributes: Some(attributes(list)), merge, ..UpdateThing::default() };
        fixture.registry.update_thing(&thing("pump"), update).await.unwrap();
        let after = fixture.registry.thing(&thing("pump")).await.unwrap();
        (after.attributes, after.version)
    };
    assert_eq!(update(&[("b", ""), ("c", "3")], true).await, (attributes(&[("a", "1"), ("c", "3")]), 2));
    assert_eq!(update(&[("c", "3")], true).await, (attributes(&[("a", "1"), ("c", "3")]), 2), "no change");
    assert_eq!(update(&[("d", "4")], false).await, (attributes(&[("d", "4")]), 3));
    assert_eq!(update(&[], false).await, (attributes(&[]), 4));
}

#[tokio::test]
async fn an_update_of_another_version_than_expected_is_refused() {
    let fixture = Fixture::new().await;
    let pump = fixture.thing("pump").await;
    let update = |expected, value: &str| UpdateThing {
        attributes: Some(attributes(&[("a", value)])),
        expected_version: Some(expected),
        ..UpdateThing::default()
    };
    assert_eq!(kind(fixture.registry.update_thing(&pump, update(2, "x")).await), "VC");
    fixture.registry.update_thing(&pump, update(1, "x")).await.unwrap();
    assert_eq!(kind(fixture.registry.update_thing(&pump, update(1, "y")).await), "VC");
    assert_eq!(kind(fixture.registry.delete_thing(&pump, Some(1)).await), "VC");
    fixture.registry.delete_thing(&pump, Some(2)).await.unwrap();
    assert_eq!(kind(fixture.registry.update_thing(&pump, update(1, "y")).await), "NF");
    let contradiction = UpdateThing {
        thing_type: Some("t".parse().unwrap()),
        remove_thing_type: true,
        ..UpdateThing::default()
    };
    assert_eq!(kind(fixture.registry.update_thing(&pump, contradiction).await), "IR");
}

#[tokio::test]
async fn a_thing_with_a_principal_is_not_deleted_and_a_missing_one_is_no_error() {
    let fixture = Fixture::new().await;
    let pump = fixture.thing("pump").await;
    let id = fixture.certificate("d", CertificateStatus::Active).await;
    fixture.registry.attach_thing_principal(&pump, id, PrincipalType::default()).await.unwrap();
    let error = fixture.registry.delete_thing(&pump, None).await.unwrap_err();
    assert!(error.to_string().contains("thing pump still has principals attached"), "{error}");
    fixture.registry.detach_thing_principal(&pump, id).await.unwrap();
    fixture.registry.delete_thing(&pump, None).await.unwrap();
    fixture.registry.delete_thing(&pump, None).await.unwrap();
    assert_eq!(kind(fixture.registry.thing(&pump).await), "NF");
}

#[tokio::test]
async fn things_are_listed_by_type_and_by_attribute() {
    let fixture = Fixture::new().await;
    fixture.registry.create_thing_type("t".parse().unwrap(), None, vec![]).await.unwrap();
    for (name, typed, line) in
        [("a", true, "north-1"), ("b", true, "south"), ("c", false, "north-1"), ("d", false, "north-2")]
    {
        let content = CreateThing {
            thing_type: typed.then(|| "t".parse().unwrap()),
            attributes: attributes(&[("line", line)]),
            billing_group: None,
        };
        fixture.registry.create_thing(thing(name), content).await.unwrap();
    }
    let list = async |typed: bool, line: Option<&str>, prefix| {
        let filter = ThingFilter {
            thing_type: typed.then(|| "t".parse().unwrap()),
            attribute: line.map(|l| ("line".parse().unwrap(), l.to_string())),
            prefix,
        };
        let page = fixture.registry.list_things(&filter, &first(9)).await.unwrap();
        page.items.iter().map(|t| t.name.to_string()).collect::<Vec<_>>().join("")
    };
    assert_eq!(list(false, None, false).await, "abcd");
    assert_eq!(list(true, None, false).await, "ab");
    assert_eq!(list(false, Some("north-1"), false).await, "ac");
    assert_eq!(list(false, Some("north"), false).await, "");
    assert_eq!(list(false, Some("north"), true).await, "acd");
    assert_eq!(list(true, Some("north"), true).await, "a");
}

use super::*;

#[tokio::test]
async fn a_hierarchy_has_at_most_seven_levels() {
    let fixture = Fixture::new().await;
    let mut parent: Option<String> = None;
    for level in 1..=7 {
        let name = format!("g{level}");
        fixture.group(&name, parent.as_deref()).await;
        parent = Some(name);
    }
    let deepest = fixture.registry.thing_group(&group("g7")).await.unwrap();
    assert_eq!(deepest.parent, Some(group("g6")));
    assert_eq!(deepest.ancestors, (1..=6).map(|l| group(&format!("g{l}"))).collect::<Vec<_>>());
    let create = async |name: &str, parent: &str| {
        fixture.registry.create_thing_group(group(name), Some(group(parent)), None, Default::default()).await
    };
    assert_eq!(kind(create("g8", "g7").await), "IR");
    assert_eq!(kind(create("x", "missing").await), "IR");
}

#[tokio::test]
async fn creating_a_group_again_as_it_is_changes_nothing() {
    let fixture = Fixture::new().await;
    fixture.group("root", None).await;
    fixture.group("other", None).await;
    let create = async |parent: &str, text: Option<&str>| {
        let text = text.map(Into::into);
        fixture.registry.create_thing_group(group("g"), Some(group(parent)), text, Default::default()).await
    };
    let first = create("root", Some("pumps")).await.unwrap();
    let before = fixture.revision();
    assert_eq!(create("root", Some("pumps")).await.unwrap(), first);
    assert!(fixture.happened(before).await.is_empty());
    assert_eq!(kind(create("other", Some("pumps")).await), "AE");
    assert_eq!(kind(create("root", None).await), "AE");
}

#[tokio::test]
async fn a_group_has_at_most_a_hundred_children() {
    let fixture = Fixture::new().await;
    fixture.group("root", None).await;
    for i in 0..100 {
        fixture.group(&format!("child-{i}"), Some("root")).await;
    }
    let result = fixture
        .registry
        .create_thing_group(group("more"), Some(group("root")), None, Default::default())
        .await;
    assert_eq!(kind(result), "IR");
    assert_eq!(kind(fixture.registry.delete_thing_group(&group("root"), None).await), "IR");
    fixture.registry.delete_thing_group(&group("child-7"), None).await.unwrap();
    fixture.group("more", Some("root")).await;
}

#[tokio::test]
async fn a_thing_is_in_at_most_ten_groups_and_in_one_of_a_hierarchy() {
    let fixture = Fixture::new().await;
    let pump = fixture.thing("pump").await;
    fixture.group("root", None).await;
    fixture.group("child", Some("root")).await;
    fixture.group("sibling", Some("root")).await;
    let registry = &fixture.registry;
    registry.add_thing_to_group(&pump, &group("child")).await.unwrap();
    registry.add_thing_to_group(&pump, &group("child")).await.unwrap();
    for other in ["sibling", "root"] {
        assert_eq!(kind(registry.add_thing_to_group(&pump, &group(other)).await), "IR");
    }
    for i in 1..10 {
        let name = fixture.group(&format!("g{i}"), None).await;
        registry.add_thing_to_group(&pump, &name).await.unwrap();
    }
    let eleventh = fixture.group("g10", None).await;
    assert_eq!(kind(registry.add_thing_to_group(&pump, &eleventh).await), "IR");
    registry.remove_thing_from_group(&pump, &group("child")).await.unwrap();
    registry.remove_thing_from_group(&pump, &group("child")).await.unwrap();
    registry.add_thing_to_group(&pump, &group("sibling")).await.unwrap();
    let groups = registry.list_groups_of_thing(&pump, &first(20)).await.unwrap().items;
    assert_eq!(groups.len(), 10);
    for (t, g) in [("none", "g1"), ("pump", "none")] {
        assert_eq!(kind(registry.add_thing_to_group(&thing(t), &group(g)).await), "NF");
        assert_eq!(kind(registry.remove_thing_from_group(&thing(t), &group(g)).await), "NF");
    }
}

#[tokio::test]
async fn a_deleted_group_leaves_no_member_and_no_policy_behind_however_large_it_was() {
    let fixture = Fixture::new().await;
    let name = fixture.group("large", None).await;
    let policy = fixture.policy("p").await;
    let registry = &fixture.registry;
    registry.attach_policy(&policy, PolicyTarget::ThingGroup(name.clone())).await.unwrap();
    for i in 0..450 {
        let member = fixture.thing(&format!("t{i}")).await;
        registry.add_thing_to_group(&member, &name).await.unwrap();
    }
    assert_eq!(kind(registry.delete_thing_group(&name, Some(2)).await), "VC");
    let before = fixture.revision();
    registry.delete_thing_group(&name, Some(1)).await.unwrap();
    registry.delete_thing_group(&name, None).await.unwrap();
    let happened = fixture.happened(before).await;
    assert_eq!(happened.iter().filter(|h| h.contains(" in large removed")).count(), 450);
    assert_eq!(happened.last().unwrap(), "group large Deleted under 0");
    assert!(registry.list_groups_of_thing(&thing("t7"), &first(9)).await.unwrap().items.is_empty());
    registry.delete_policy(&policy).await.unwrap();
    registry.delete_thing(&thing("t7"), None).await.unwrap();
}

#[tokio::test]
async fn a_group_has_at_most_fifty_attributes() {
    let fixture = Fixture::new().await;
    let names: Vec<String> = (0..51).map(|i| format!("a{i}")).collect();
    let list: Vec<_> = names.iter().map(|n| (n.as_str(), "v")).collect();
    let create = async |name: &str, list: &[(&str, &str)]| {
        fixture.registry.create_thing_group(group(name), None, None, attributes(list)).await
    };
    create("a", &list[..50]).await.unwrap();
    assert_eq!(kind(create("b", &list).await), "IR");
}

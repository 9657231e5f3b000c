use super::*;

#[tokio::test]
async fn a_type_is_deleted_only_some_time_after_its_deprecation_and_without_things() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let name: ThingTypeName = "t".parse().unwrap();
    registry.create_thing_type(name.clone(), Some("a type".into()), vec![]).await.unwrap();
    assert_eq!(kind(registry.create_thing_type(name.clone(), None, vec![]).await), "AE");
    let typed = CreateThing { thing_type: Some(name.clone()), ..CreateThing::default() };
    registry.create_thing(thing("pump"), typed).await.unwrap();
    assert_eq!(kind(registry.delete_thing_type(&name).await), "IR", "not deprecated");
    registry.deprecate_thing_type(&name, false).await.unwrap();
    assert_eq!(registry.thing_type(&name).await.unwrap().deprecated_at, Some(Timestamp(NOW)));
    fixture.later(299);
    assert_eq!(kind(registry.delete_thing_type(&name).await), "IR", "too early");
    fixture.later(1);
    assert_eq!(kind(registry.delete_thing_type(&name).await), "IR", "it has a thing");
    registry.delete_thing(&thing("pump"), None).await.unwrap();
    registry.delete_thing_type(&name).await.unwrap();
    assert_eq!(kind(registry.delete_thing_type(&name).await), "NF");
    assert_eq!(kind(registry.deprecate_thing_type(&name, true).await), "NF");
}

#[tokio::test]
async fn creating_a_type_again_as_it_is_changes_nothing() {
    let fixture = Fixture::new().await;
    let create = async |text: &str, searchable: [&str; 2]| {
        let searchable = searchable.map(|name| name.parse().unwrap()).to_vec();
        fixture.registry.create_thing_type("t".parse().unwrap(), Some(text.into()), searchable).await
    };
    let first = create("a type", ["line", "hall"]).await.unwrap();
    let before = fixture.revision();
    assert_eq!(create("a type", ["hall", "line"]).await.unwrap(), first, "their order means nothing");
    assert!(fixture.happened(before).await.is_empty());
    assert_eq!(kind(create("another", ["line", "hall"]).await), "AE");
    assert_eq!(kind(create("a type", ["line", "plant"]).await), "AE");
}

#[tokio::test]
async fn a_deprecation_can_be_undone() {
    let fixture = Fixture::new().await;
    let name: ThingTypeName = "t".parse().unwrap();
    fixture.registry.create_thing_type(name.clone(), None, vec![]).await.unwrap();
    let before = fixture.revision();
    for undo in [true, false, false, true] {
        fixture.registry.deprecate_thing_type(&name, undo).await.unwrap();
    }
    assert_eq!(fixture.registry.thing_type(&name).await.unwrap().deprecated_at, None);
    assert_eq!(fixture.happened(before).await, ["type t Updated", "type t Updated"]);
}

#[tokio::test]
async fn a_type_has_at_most_three_searchable_attributes_and_a_short_description() {
    let fixture = Fixture::new().await;
    let names = |n: usize| (0..n).map(|i| format!("a{i}").parse().unwrap()).collect::<Vec<AttributeName>>();
    let create = async |name: &str, text: String, searchable| {
        fixture.registry.create_thing_type(name.parse().unwrap(), Some(text), searchable).await
    };
    create("a", "x".repeat(2028), names(3)).await.unwrap();
    assert_eq!(kind(create("b", String::new(), names(4)).await), "IR");
    assert_eq!(kind(create("c", "x".repeat(2029), names(1)).await), "IR");
    assert_eq!(kind(create("d", "line\nbreak".into(), names(1)).await), "IR");
}

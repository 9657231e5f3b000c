use super::*;
use jitp_provisioner::registry::{CreateThingGroup, UpdateThingGroup};
use jitp_provisioner::search::Query;

async fn indexed() -> Fixture {
    let fixture = Fixture::new().await;
    let on = IndexingConfiguration { registry: true, ..IndexingConfiguration::default() };
    fixture.registry.update_indexing_configuration(on).await.unwrap();
    fixture
}

#[tokio::test]
async fn a_search_finds_each_thing_once_whatever_the_size_of_a_page() {
    let fixture = indexed().await;
    // More than are read at a time, and matches on both sides of that.
    for number in 0..300 {
        let list = if number % 50 == 0 { vec![("marked", "yes")] } else { vec![] };
        let new = CreateThing { attributes: attributes(&list), ..CreateThing::default() };
        fixture.registry.create_thing(thing(&format!("t-{number:03}")), new).await.unwrap();
    }
    let query = Query::parse("attributes.marked:yes").unwrap();
    for size in [1, 2, 3, 6, 7, 250] {
        let (mut all, mut request) = (Vec::new(), first(size));
        loop {
            let page = fixture.registry.search_things(&query, &request).await.unwrap();
            assert!(page.items.len() <= size);
            all.extend(page.items.iter().map(|found| found.thing.name.to_string()));
            match page.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        assert_eq!(all, ["t-000", "t-050", "t-100", "t-150", "t-200", "t-250"], "pages of {size}");
    }
}

#[tokio::test]
async fn nothing_can_be_searched_before_indexing_is_switched_on() {
    let fixture = Fixture::new().await;
    let query = Query::parse("*").unwrap();
    assert_eq!(kind(fixture.registry.search_things(&query, &first(9)).await), "NF");
    let group = CreateThingGroup::default();
    assert_eq!(
        kind(fixture.registry.create_dynamic_thing_group("d".parse().unwrap(), group, "*").await),
        "NF"
    );
}

#[tokio::test]
async fn there_are_at_most_100_dynamic_groups_and_one_refused_leaves_nothing() {
    let fixture = indexed().await;
    let registry = &fixture.registry;
    for number in 0..100 {
        let name = group(&format!("d-{number}"));
        registry.create_dynamic_thing_group(name, CreateThingGroup::default(), "thingName:x").await.unwrap();
    }
    let one_more = registry.create_dynamic_thing_group(group("more"), CreateThingGroup::default(), "*").await;
    assert_eq!(kind(one_more), "LE");
    assert_eq!(kind(registry.thing_group(&group("more")).await), "NF");
    registry.delete_dynamic_thing_group(&group("d-0"), None).await.unwrap();
    registry.create_dynamic_thing_group(group("more"), CreateThingGroup::default(), "*").await.unwrap();
}

#[tokio::test]
async fn a_dynamic_group_keeps_its_things_when_only_its_description_changes() {
    let fixture = indexed().await;
    let registry = &fixture.registry;
    fixture.thing("pump").await;
    let name = group("d");
    registry.create_dynamic_thing_group(name.clone(), CreateThingGroup::default(), "pump").await.unwrap();
    let change = UpdateThingGroup { description: Some("pumps".into()), ..UpdateThingGroup::default() };
    assert_eq!(registry.update_dynamic_thing_group(&name, change, None).await.unwrap(), 2);
    let things = registry.list_things_in_thing_group(&name, false, &first(9)).await.unwrap();
    assert_eq!(things.items, [thing("pump")]);
    let record = registry.thing_group(&name).await.unwrap();
    assert_eq!((record.query.as_deref(), record.description.as_deref()), (Some("pump"), Some("pumps")));
}

use super::*;

#[tokio::test]
async fn a_billing_group_is_created_once() {
    let fixture = Fixture::new().await;
    let name: BillingGroupName = "cost".parse().unwrap();
    let record = fixture.registry.create_billing_group(name.clone(), Some("centre".into())).await.unwrap();
    assert_eq!((record.version, record.billing_group_id.len()), (1, 36));
    assert_eq!(kind(fixture.registry.create_billing_group(name, None).await), "AE");
}

#[tokio::test]
async fn a_group_with_more_things_than_one_commit_removes_loses_all_of_them() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let name: BillingGroupName = "cost".parse().unwrap();
    registry.create_billing_group(name.clone(), None).await.unwrap();
    for number in 0..201 {
        let new = CreateThing { billing_group: Some(name.clone()), ..CreateThing::default() };
        registry.create_thing(thing(&format!("t-{number:03}")), new).await.unwrap();
    }
    registry.delete_billing_group(&name, Some(1)).await.unwrap();
    assert_eq!(kind(registry.billing_group(&name).await), "NF");
    for number in [0, 100, 200] {
        assert_eq!(registry.thing(&thing(&format!("t-{number:03}"))).await.unwrap().billing_group, None);
    }
    // A group of the same name starts empty.
    registry.create_billing_group(name.clone(), None).await.unwrap();
    assert!(registry.list_things_in_billing_group(&name, &first(9)).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_thing_is_in_one_billing_group_and_its_version_does_not_count_that() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let [one, two]: [BillingGroupName; 2] = ["one", "two"].map(|name| name.parse().unwrap());
    for name in [&one, &two] {
        registry.create_billing_group(name.clone(), None).await.unwrap();
    }
    let pump = fixture.thing("pump").await;
    registry.add_thing_to_billing_group(&pump, &one).await.unwrap();
    registry.add_thing_to_billing_group(&pump, &two).await.unwrap();
    registry.remove_thing_from_billing_group(&pump, &one).await.unwrap();
    let record = registry.thing(&pump).await.unwrap();
    assert_eq!((record.billing_group.as_ref(), record.version), (Some(&two), 1));
    assert!(registry.list_things_in_billing_group(&one, &first(9)).await.unwrap().items.is_empty());
    registry.delete_thing(&pump, None).await.unwrap();
    assert!(registry.list_things_in_billing_group(&two, &first(9)).await.unwrap().items.is_empty());
}

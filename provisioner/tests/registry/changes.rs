//! Which operation reports what (`spec/events.md` section 2).
use super::*;
use jitp_provisioner::registry::UpdateThing;
use jitp_provisioner::{ChangeEntry, Dependency};
use std::sync::Arc;

#[tokio::test]
async fn every_operation_reports_what_the_specification_says() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let pump = thing("pump");
    let mut seen = fixture.revision();
    let mut expect = async |what: &[&str]| {
        assert_eq!(fixture.happened(seen).await, what);
        seen = fixture.revision();
    };
    registry.create_thing_type("t".parse().unwrap(), None, vec![]).await.unwrap();
    registry.create_thing_type("u".parse().unwrap(), None, vec![]).await.unwrap();
    expect(&["type t Created", "type u Created"]).await;
    let typed = CreateThing { thing_type: Some("t".parse().unwrap()), ..CreateThing::default() };
    registry.create_thing(pump.clone(), typed.clone()).await.unwrap();
    expect(&["thing pump Created v1", "pump of t added"]).await;
    registry.create_thing(pump.clone(), typed).await.unwrap();
    expect(&[]).await;
    let retyped = UpdateThing { thing_type: Some("u".parse().unwrap()), ..UpdateThing::default() };
    registry.update_thing(&pump, retyped).await.unwrap();
    expect(&["thing pump Updated v2", "pump of t removed", "pump of u added"]).await;
    let attributed = UpdateThing { attributes: Some(attributes(&[("a", "1")])), ..UpdateThing::default() };
    registry.update_thing(&pump, attributed).await.unwrap();
    expect(&["thing pump Updated v3"]).await;
    fixture.group("g", None).await;
    fixture.group("h", Some("g")).await;
    expect(&["group g Created under 0", "group h Created under 1", "h under g added"]).await;
    registry.add_thing_to_group(&pump, &group("h")).await.unwrap();
    registry.add_thing_to_group(&pump, &group("h")).await.unwrap();
    expect(&["pump in h added"]).await;
    registry.remove_thing_from_group(&pump, &group("h")).await.unwrap();
    registry.add_thing_to_group(&pump, &group("g")).await.unwrap();
    expect(&["pump in h removed", "pump in g added"]).await;
    registry.delete_thing_group(&group("h"), None).await.unwrap();
    expect(&["h under g removed", "group h Deleted under 1"]).await;
    registry.delete_thing(&pump, None).await.unwrap();
    expect(&["pump of u removed", "pump in g removed", "thing pump Deleted v3"]).await;
    registry.deprecate_thing_type(&"u".parse().unwrap(), false).await.unwrap();
    fixture.later(300);
    registry.delete_thing_type(&"u".parse().unwrap()).await.unwrap();
    expect(&["type u Updated", "type u Deleted"]).await;
}

#[tokio::test]
async fn all_changes_of_a_commit_are_read_together_with_ids_that_stay() {
    let fixture = Fixture::new().await;
    fixture.registry.create_thing_type("t".parse().unwrap(), None, vec![]).await.unwrap();
    let before = fixture.revision();
    let typed = CreateThing { thing_type: Some("t".parse().unwrap()), ..CreateThing::default() };
    fixture.registry.create_thing(thing("pump"), typed).await.unwrap();
    fixture.thing("other").await;
    let feed = fixture.registry.changes();
    let one = feed.since(before, 1).await.unwrap();
    assert_eq!(one.len(), 2, "both changes of the first commit");
    assert!(one[0].revision == one[1].revision && one[0].event_id != one[1].event_id);
    assert_eq!(one[0].timestamp, Timestamp(NOW));
    assert_eq!(feed.since(before, 1).await.unwrap(), one);
    let next: Vec<Arc<ChangeEntry>> = feed.since(one[0].revision, 100).await.unwrap();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].revision, feed.latest());
}

#[tokio::test]
async fn waiting_ends_with_the_next_change_and_a_cursor_does_not_wake_anyone() {
    let fixture = Fixture::new().await;
    let feed = fixture.registry.changes().clone();
    let seen = feed.latest();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let feed = feed.clone();
            tokio::spawn(async move { feed.beyond(seen).await })
        })
        .collect();
    assert_eq!(feed.cursor("events").await.unwrap(), Revision(0));
    feed.advance("events", seen).await.unwrap();
    fixture.registry.registration_code().await.unwrap();
    assert_eq!(feed.cursor("events").await.unwrap(), seen);
    assert_eq!(feed.latest(), seen, "a cursor and a registration code are no changes");
    assert!(waiting.iter().all(|w| !w.is_finished()));
    fixture.thing("pump").await;
    for woken in waiting {
        woken.await.unwrap();
    }
    assert!(feed.latest() > seen && !feed.is_trimmed_after(Revision(0)));
}

#[tokio::test]
async fn a_change_touches_what_permissions_are_computed_from() {
    let id = CertificateId::from_bytes([3; 32]);
    let attachment = |target| Change::PolicyAttachment { attached: true, policy: policy("p"), target };
    for (change, touched) in [
        (attachment(PolicyTarget::Certificate(id)), vec![Dependency::Certificate(id)]),
        (attachment(PolicyTarget::ThingGroup(group("g"))), vec![Dependency::ThingGroup(group("g"))]),
        (
            Change::PrincipalAttachment { attached: false, thing: thing("t"), certificate_id: id },
            vec![Dependency::Certificate(id), Dependency::Thing(thing("t"))],
        ),
        (Change::Certificate { certificate_id: id, from: None, to: None }, vec![Dependency::Certificate(id)]),
        (Change::EventConfigurations, vec![]),
    ] {
        assert_eq!(change.touches(), touched);
    }
}

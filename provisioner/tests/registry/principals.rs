use super::*;
use PrincipalType::{ExclusiveThing, NonExclusiveThing};

#[tokio::test]
async fn attaching_is_idempotent_and_detaching_is_not() {
    let fixture = Fixture::new().await;
    let pump = fixture.thing("pump").await;
    let id = fixture.certificate("d", CertificateStatus::Active).await;
    let registry = &fixture.registry;
    registry.attach_thing_principal(&pump, id, NonExclusiveThing).await.unwrap();
    let before = fixture.revision();
    registry.attach_thing_principal(&pump, id, NonExclusiveThing).await.unwrap();
    assert!(fixture.happened(before).await.is_empty());
    assert_eq!(kind(registry.attach_thing_principal(&pump, id, ExclusiveThing).await), "IR");
    let principals = registry.list_thing_principals(&pump, None, &first(9)).await.unwrap();
    assert_eq!(principals.items, [(id, NonExclusiveThing)]);
    let things = registry.list_principal_things(id, None, &first(9)).await.unwrap();
    assert_eq!(things.items, [(pump.clone(), NonExclusiveThing)]);
    registry.detach_thing_principal(&pump, id).await.unwrap();
    assert_eq!(kind(registry.detach_thing_principal(&pump, id).await), "NF");
    assert!(registry.list_principal_things(id, None, &first(9)).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_exclusive_attachment_is_the_only_one_of_its_certificate() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.thing("a").await, fixture.thing("b").await);
    let registry = &fixture.registry;
    let exclusive = fixture.certificate("d", CertificateStatus::Active).await;
    registry.attach_thing_principal(&a, exclusive, ExclusiveThing).await.unwrap();
    registry.attach_thing_principal(&a, exclusive, ExclusiveThing).await.unwrap();
    assert_eq!(kind(registry.attach_thing_principal(&b, exclusive, NonExclusiveThing).await), "IR");
    assert_eq!(kind(registry.attach_thing_principal(&b, exclusive, ExclusiveThing).await), "IR");
    let shared = fixture.certificate("e", CertificateStatus::Active).await;
    registry.attach_thing_principal(&a, shared, NonExclusiveThing).await.unwrap();
    assert_eq!(kind(registry.attach_thing_principal(&b, shared, ExclusiveThing).await), "IR");
    registry.attach_thing_principal(&b, shared, NonExclusiveThing).await.unwrap();
    registry.detach_thing_principal(&a, exclusive).await.unwrap();
    registry.attach_thing_principal(&b, exclusive, NonExclusiveThing).await.unwrap();
}

#[tokio::test]
async fn both_ends_of_an_attachment_must_exist() {
    let fixture = Fixture::new().await;
    let pump = fixture.thing("pump").await;
    let id = fixture.certificate("d", CertificateStatus::Active).await;
    let unknown = CertificateId::from_bytes([7; 32]);
    let registry = &fixture.registry;
    assert_eq!(kind(registry.attach_thing_principal(&thing("none"), id, NonExclusiveThing).await), "NF");
    assert_eq!(kind(registry.attach_thing_principal(&pump, unknown, NonExclusiveThing).await), "NF");
    assert_eq!(kind(registry.detach_thing_principal(&thing("none"), id).await), "NF");
    assert_eq!(kind(registry.list_thing_principals(&thing("none"), None, &first(9)).await), "NF");
    assert_eq!(kind(registry.list_principal_things(unknown, None, &first(9)).await), "NF");
}

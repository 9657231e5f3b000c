use super::*;
use jitp_provisioner::ResourceKind;
use jitp_provisioner::registry::Tags;

fn tags(list: &[(&str, &str)]) -> Tags {
    list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed_and_go_with_their_resource() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let name = policy("tagged");
    registry.create_tagged_policy(name.clone(), ALLOW_ALL, tags(&[("a", "1")])).await.unwrap();
    let arn = registry.arn(ResourceKind::Policy, name.as_str());
    registry.tag(&arn, tags(&[("a", "2"), ("b", "")])).await.unwrap();
    assert_eq!(registry.tags(&arn).await.unwrap(), tags(&[("a", "2"), ("b", "")]));
    registry.untag(&arn, vec!["a".into(), "absent".into()]).await.unwrap();
    assert_eq!(registry.tags(&arn).await.unwrap(), tags(&[("b", "")]));
    registry.delete_policy(&name).await.unwrap();
    assert_eq!(kind(registry.tags(&arn).await), "NF");
    fixture.policy("tagged").await;
    assert_eq!(registry.tags(&arn).await.unwrap(), tags(&[]));
}

#[tokio::test]
async fn a_resource_has_at_most_50_legal_tags() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let arn = registry.arn(ResourceKind::ThingGroup, fixture.group("g", None).await.as_str());
    let many: Tags = (0..50).map(|number| (format!("k{number}"), String::new())).collect();
    registry.tag(&arn, many.clone()).await.unwrap();
    registry.tag(&arn, many.clone()).await.unwrap();
    assert_eq!(kind(registry.tag(&arn, tags(&[("one more", "")])).await), "LE");
    for (key, value) in
        [("", ""), ("a*b", ""), ("a", "b*"), (&*"k".repeat(129), ""), ("a", &*"v".repeat(257))]
    {
        assert_eq!(kind(registry.tag(&arn, tags(&[(key, value)])).await), "IR", "{key:?} {value:?}");
    }
    assert_eq!(registry.tags(&arn).await.unwrap(), many);
}

#[tokio::test]
async fn things_and_certificates_have_no_tags() {
    let fixture = Fixture::new().await;
    fixture.thing("pump").await;
    for (resource, name) in
        [(ResourceKind::Thing, "pump".to_string()), (ResourceKind::Certificate, "0".repeat(64))]
    {
        let arn = fixture.registry.arn(resource, &name);
        assert_eq!(kind(fixture.registry.tag(&arn, tags(&[("a", "")])).await), "IR");
    }
}

use super::*;

#[tokio::test]
async fn a_policy_has_at_most_five_versions_and_numbers_are_not_reused() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let name = fixture.policy("p").await;
    assert_eq!(kind(registry.create_policy(name.clone(), ALLOW_ALL).await), "AE");
    for expected in 2..=5 {
        let version = registry.create_policy_version(&name, ALLOW_ALL, expected == 3).await.unwrap();
        assert_eq!(version.version, expected);
    }
    assert_eq!(kind(registry.create_policy_version(&name, ALLOW_ALL, false).await), "VL");
    assert_eq!(registry.policy(&name).await.unwrap().default_version, 3);
    assert_eq!(kind(registry.delete_policy_version(&name, 3).await), "DC");
    registry.delete_policy_version(&name, 5).await.unwrap();
    assert_eq!(registry.create_policy_version(&name, ALLOW_ALL, false).await.unwrap().version, 6);
    let versions = registry.list_policy_versions(&name).await.unwrap();
    assert_eq!(versions.iter().map(|v| v.version).collect::<Vec<_>>(), [1, 2, 3, 4, 6]);
    registry.set_default_policy_version(&name, 1).await.unwrap();
    assert_eq!(kind(registry.set_default_policy_version(&name, 5).await), "NF");
    assert_eq!(kind(registry.policy_version(&name, 5).await), "NF");
    assert_eq!(kind(registry.delete_policy_version(&name, 9).await), "NF");
}

#[tokio::test]
async fn a_policy_is_deleted_only_when_attached_nowhere_and_of_one_version() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    let name = fixture.policy("p").await;
    let target = PolicyTarget::ThingGroup(fixture.group("g", None).await);
    registry.create_policy_version(&name, ALLOW_ALL, true).await.unwrap();
    registry.attach_policy(&name, target.clone()).await.unwrap();
    assert_eq!(kind(registry.delete_policy(&name).await), "DC", "attached");
    registry.detach_policy(&name, &target).await.unwrap();
    registry.detach_policy(&name, &target).await.unwrap();
    assert_eq!(kind(registry.delete_policy(&name).await), "DC", "two versions");
    registry.delete_policy_version(&name, 1).await.unwrap();
    registry.delete_policy(&name).await.unwrap();
    for missing in [registry.delete_policy(&name).await, registry.attach_policy(&name, target).await] {
        assert_eq!(kind(missing), "NF");
    }
    assert_eq!(kind(registry.list_policy_versions(&name).await), "NF");
}

#[tokio::test]
async fn a_malformed_document_is_refused() {
    let fixture = Fixture::new().await;
    let name = fixture.policy("good").await;
    let long = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"{}","Effect":"Allow","Action":"iot:*","Resource":"*"}}]}}"#,
        "x".repeat(2048)
    );
    for document in ["", "{}", "no json", long.as_str()] {
        assert_eq!(kind(fixture.registry.create_policy(policy("bad"), document).await), "MP");
        assert_eq!(kind(fixture.registry.create_policy_version(&name, document, true).await), "MP");
    }
}

#[tokio::test]
async fn a_certificate_has_at_most_ten_policies_and_a_group_as_many_as_configured() {
    let fixture = Fixture::with(|o| o.policies_per_group = 2).await;
    let registry = &fixture.registry;
    let certificate = PolicyTarget::Certificate(fixture.certificate("d", CertificateStatus::Active).await);
    let group = PolicyTarget::ThingGroup(fixture.group("g", None).await);
    for (target, most) in [(certificate, 10), (group, 2)] {
        for i in 0..most {
            let name = policy(&format!("p{i}"));
            if registry.policy(&name).await.is_err() {
                fixture.policy(name.as_str()).await;
            }
            registry.attach_policy(&name, target.clone()).await.unwrap();
            registry.attach_policy(&name, target.clone()).await.unwrap();
        }
        let more = policy("more");
        if registry.policy(&more).await.is_err() {
            fixture.policy("more").await;
        }
        assert_eq!(kind(registry.attach_policy(&more, target.clone()).await), "LE");
        let attached = registry.list_attached_policies(&target, &first(50)).await.unwrap().items;
        assert_eq!(attached.len(), most);
        registry.detach_policy(&policy("p0"), &target).await.unwrap();
        registry.attach_policy(&more, target).await.unwrap();
    }
    let targets = registry.list_targets_for_policy(&policy("p1"), &first(9)).await.unwrap().items;
    assert!(
        matches!(targets.as_slice(), [PolicyTarget::Certificate(_), PolicyTarget::ThingGroup(_)]),
        "{targets:?}"
    );
}

#[tokio::test]
async fn a_policy_is_attached_only_to_what_exists() {
    let fixture = Fixture::new().await;
    let name = fixture.policy("p").await;
    let registry = &fixture.registry;
    for target in [
        PolicyTarget::Certificate(CertificateId::from_bytes([1; 32])),
        PolicyTarget::ThingGroup(group("none")),
    ] {
        assert_eq!(kind(registry.attach_policy(&name, target.clone()).await), "NF");
        assert_eq!(kind(registry.list_attached_policies(&target, &first(9)).await), "NF");
    }
    assert_eq!(kind(registry.list_targets_for_policy(&policy("none"), &first(9)).await), "NF");
}

#[tokio::test]
async fn attaching_a_shared_policy_does_not_write_it() {
    let fixture = Fixture::new().await;
    let name = fixture.policy("shared").await;
    let before = fixture.registry.policy(&name).await.unwrap();
    let ids = certificates(&fixture, 32).await;
    let attaching: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let (registry, name) = (fixture.registry.clone(), name.clone());
            tokio::spawn(async move { registry.attach_policy(&name, PolicyTarget::Certificate(id)).await })
        })
        .collect();
    for attached in attaching {
        attached.await.unwrap().unwrap();
    }
    assert_eq!(fixture.registry.policy(&name).await.unwrap(), before);
}

async fn certificates(fixture: &Fixture, count: usize) -> Vec<CertificateId> {
    let mut ids = Vec::new();
    for i in 0..count {
        ids.push(fixture.certificate(&format!("d{i}"), CertificateStatus::Active).await);
    }
    ids
}

//! Whatever the order in which rivals get through, nothing dangles and no limit is exceeded.
use super::*;
use std::future::Future;
use tokio::task::JoinSet;

/// Runs all at once on two threads and gives how many succeeded.
async fn race<F: Future<Output = bool> + Send + 'static>(rivals: Vec<F>) -> usize {
    let mut set: JoinSet<bool> = rivals.into_iter().collect();
    let mut won = 0;
    while let Some(done) = set.join_next().await {
        won += usize::from(done.unwrap());
    }
    won
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attaching_while_deleting_leaves_no_dangling_attachment() {
    let fixture = Fixture::new().await;
    let registry = &fixture.registry;
    for round in 0..40 {
        let pump = fixture.thing("pump").await;
        let name = fixture.policy("p").await;
        let groups = fixture.group("g", None).await;
        let id = fixture.certificate(&format!("d{round}"), CertificateStatus::Inactive).await;
        let mut set = JoinSet::new();
        for attach in [true, false, true, false] {
            let (r, pump, name, groups) = (registry.clone(), pump.clone(), name.clone(), groups.clone());
            set.spawn(async move {
                if attach {
                    let _ = r.attach_thing_principal(&pump, id, PrincipalType::default()).await;
                    let _ = r.attach_policy(&name, PolicyTarget::Certificate(id)).await;
                    let _ = r.attach_policy(&name, PolicyTarget::ThingGroup(groups.clone())).await;
                    let _ = r.add_thing_to_group(&pump, &groups).await;
                } else {
                    let _ = r.delete_thing(&pump, None).await;
                    let _ = r.delete_policy(&name).await;
                    let _ = r.delete_thing_group(&groups, None).await;
                    let _ = r.delete_certificate(id, false).await;
                }
            });
        }
        while let Some(done) = set.join_next().await {
            done.unwrap();
        }
        check(&fixture, &pump, &name, &groups, id).await;
        let _ = registry.detach_thing_principal(&pump, id).await;
        let _ = registry.delete_certificate(id, true).await;
        registry.delete_thing_group(&groups, None).await.unwrap();
        registry.delete_thing(&pump, None).await.unwrap();
        let _ = registry.delete_policy(&name).await;
        assert_eq!(kind(registry.policy(&name).await), "NF", "nothing holds the policy");
    }
}

/// Both directions of every relation agree, and both its ends exist.
async fn check(
    fixture: &Fixture,
    pump: &ThingName,
    name: &PolicyName,
    groups: &ThingGroupName,
    id: CertificateId,
) {
    let registry = &fixture.registry;
    let exists = (
        registry.thing(pump).await.is_ok(),
        registry.policy(name).await.is_ok(),
        registry.thing_group(groups).await.is_ok(),
        registry.certificate(id).await.is_ok(),
    );
    let things =
        registry.list_principal_things(id, None, &first(9)).await.map(|p| p.items).unwrap_or_default();
    let principals =
        registry.list_thing_principals(pump, None, &first(9)).await.map(|p| p.items).unwrap_or_default();
    assert_eq!(things.len(), principals.len());
    assert!(things.is_empty() || (exists.0 && exists.3), "{exists:?}");
    let targets =
        registry.list_targets_for_policy(name, &first(9)).await.map(|p| p.items).unwrap_or_default();
    for target in [PolicyTarget::Certificate(id), PolicyTarget::ThingGroup(groups.clone())] {
        let attached =
            registry.list_attached_policies(&target, &first(9)).await.map(|p| p.items).unwrap_or_default();
        assert_eq!(attached.contains(name), targets.contains(&target), "{exists:?} {target:?}");
        let target_exists = if matches!(target, PolicyTarget::Certificate(_)) { exists.3 } else { exists.2 };
        assert!(!targets.contains(&target) || (exists.1 && target_exists), "{exists:?} {target:?}");
    }
    let memberships =
        registry.list_groups_of_thing(pump, &first(9)).await.map(|p| p.items).unwrap_or_default();
    assert!(memberships.is_empty() || (exists.0 && exists.2), "{exists:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rivals_do_not_exceed_a_limit_together() {
    let fixture = Fixture::new().await;
    let id = fixture.certificate("d", CertificateStatus::Active).await;
    let mut attaching = Vec::new();
    for i in 0..20 {
        let name = fixture.policy(&format!("p{i}")).await;
        let registry = fixture.registry.clone();
        attaching.push(async move {
            loop {
                match registry.attach_policy(&name, PolicyTarget::Certificate(id)).await {
                    Ok(()) => return true,
                    Err(RegistryError::ConflictingUpdate(_)) => {}
                    Err(error) => {
                        assert!(matches!(error, RegistryError::LimitExceeded(_)), "{error}");
                        return false;
                    }
                }
            }
        });
    }
    assert_eq!(race(attaching).await, 10);
    let attached = fixture.registry.list_attached_policies(&PolicyTarget::Certificate(id), &first(50)).await;
    assert_eq!(attached.unwrap().items.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_rivals_for_one_name_one_creates_and_of_exclusive_attachments_one_holds() {
    let fixture = Fixture::new().await;
    let creating = (0..16)
        .map(|i| {
            let registry = fixture.registry.clone();
            async move {
                let content = CreateThing {
                    attributes: attributes(&[("by", &i.to_string())]),
                    ..CreateThing::default()
                };
                registry.create_thing(thing("one"), content).await.is_ok()
            }
        })
        .collect();
    assert_eq!(race(creating).await, 1);
    let id = fixture.certificate("d", CertificateStatus::Active).await;
    let mut attaching = Vec::new();
    for i in 0..16 {
        let name = fixture.thing(&format!("t{i}")).await;
        let registry = fixture.registry.clone();
        attaching.push(async move {
            registry.attach_thing_principal(&name, id, PrincipalType::ExclusiveThing).await.is_ok()
        });
    }
    assert_eq!(race(attaching).await, 1);
    assert_eq!(fixture.registry.list_principal_things(id, None, &first(50)).await.unwrap().items.len(), 1);
}

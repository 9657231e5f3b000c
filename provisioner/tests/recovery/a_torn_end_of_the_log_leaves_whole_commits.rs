use super::*;
use jitp_provisioner::names::ThingGroupName;
use jitp_provisioner::registry::PageRequest;

/// The last bytes of the engine's log never reached the disk. What was not flushed may be gone, but whole commits only:
/// a membership is never there in one direction alone, and no row is torn.
#[tokio::test]
async fn a_torn_end_of_the_log_leaves_whole_commits() {
    let dir = tempfile::TempDir::new().unwrap();
    let registry = open(dir.path()).await.unwrap();
    let group: ThingGroupName = "g".parse().unwrap();
    registry.create_thing_group(group.clone(), None, None, Default::default()).await.unwrap();
    for i in 0..60 {
        create(&registry, &format!("t{i}")).await.unwrap();
        registry.add_thing_to_group(&thing(&format!("t{i}")), &group).await.unwrap();
    }
    let mut fewest = usize::MAX;
    let log = dir.path().join("registry/sled/db");
    let written = last_written(&log);
    for torn in [1, 40, 300, 2_000, 9_000] {
        let copied = tempfile::TempDir::new().unwrap();
        copy(dir.path(), copied.path());
        let file =
            std::fs::OpenOptions::new().write(true).open(copied.path().join("registry/sled/db")).unwrap();
        file.set_len(written - torn).unwrap();
        let recovered = open(copied.path()).await.unwrap();
        let mut members = 0;
        for i in 0..60 {
            let request = PageRequest { after: None, limit: 9, ascending: true };
            match recovered.list_groups_of_thing(&thing(&format!("t{i}")), &request).await {
                Ok(groups) => members += groups.items.len(),
                Err(RegistryError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        fewest = fewest.min(members);
        // Deleting visits every membership from the group's side.
        let before = recovered.changes().latest();
        if recovered.thing_group(&group).await.is_ok() {
            recovered.delete_thing_group(&group, None).await.unwrap();
            let removed = recovered.changes().since(before, 1_000).await.unwrap().len() - 1;
            assert_eq!(removed, members, "torn at {torn}");
        }
    }
    assert!((1..60).contains(&fewest), "some commits were torn off, and not all: {fewest} are left");
}

/// Length of the file without the zeros at its end.
fn last_written(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1)
}

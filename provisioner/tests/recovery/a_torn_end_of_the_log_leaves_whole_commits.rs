use super::*;
use jitp_provisioner::names::ThingGroupName;
use jitp_provisioner::registry::PageRequest;

/// The last bytes of a file never reached the disk. Of the redo log's, whole commits may be gone: a membership is never there
/// in one direction alone, and no row is torn. Of any other file's, the redo log brings back everything.
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
    let tears = [1, 40, 300, 2_000, 9_000].map(|torn| ("journal/2.log", torn));
    for (file, torn) in tears.into_iter().chain([("sled/db", 500), (&newest_segment(dir.path()), 30)]) {
        let copied = tempfile::TempDir::new().unwrap();
        copy(dir.path(), copied.path());
        let path = copied.path().join("registry").join(file);
        let written = last_written(&path);
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(written.saturating_sub(torn))
            .unwrap();
        if file == "journal/2.log" {
            // A group is in the other files only once it is whole in the redo log.
            std::fs::remove_dir_all(copied.path().join("registry/changes")).unwrap();
        }
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
            assert_eq!(removed, members, "{file} torn at {torn}");
        }
        if file != "journal/2.log" {
            assert_eq!(members, 60, "{file} torn at {torn}");
        }
    }
    assert!((1..60).contains(&fewest), "some commits were torn off, and not all: {fewest} are left");
}

fn newest_segment(dir: &Path) -> String {
    let segments = std::fs::read_dir(dir.join("registry/changes")).unwrap();
    let names = segments.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    format!("changes/{}", names.max().unwrap())
}

/// Length of the file without the zeros at its end.
fn last_written(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1)
}

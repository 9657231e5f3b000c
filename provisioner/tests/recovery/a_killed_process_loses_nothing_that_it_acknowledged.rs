use super::*;
use jitp_provisioner::names::ThingGroupName;
use jitp_provisioner::registry::PageRequest;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Where the process that will be killed finds its directory.
const DIR: &str = "JITP_TEST_KILLED_DIR";

/// A process creates things in a group, several at once, and says so after each; it is killed in the midst of it.
#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    for kill_after in [1, 50, 400] {
        let dir = tempfile::TempDir::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "a_killed_process_loses_nothing_that_it_acknowledged::writes_until_killed",
            ])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some(name) = line.unwrap().strip_prefix("created ") {
                acknowledged.push(name.to_string());
            }
            if acknowledged.len() == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= kill_after);
        check(&open(dir.path()).await.unwrap(), &acknowledged).await;
    }
}

async fn check(registry: &Registry, acknowledged: &[String]) {
    for name in acknowledged {
        let found = registry.thing(&thing(name)).await;
        assert!(found.is_ok(), "{name} was acknowledged");
        let request = PageRequest { after: None, limit: 9, ascending: true };
        let groups = registry.list_groups_of_thing(&thing(name), &request).await.unwrap();
        assert_eq!(groups.items.len(), 1, "{name} was put into its group");
    }
    // The change log tells the same story: each thing once, and memberships only of things.
    let log = registry.changes().since(Default::default(), 100_000).await.unwrap();
    assert!(log.len() > 2 * acknowledged.len());
    let mut revisions: Vec<_> = log.iter().map(|entry| entry.revision).collect();
    revisions.dedup();
    assert!(revisions.is_sorted());
    let group: ThingGroupName = "g".parse().unwrap();
    registry.delete_thing_group(&group, None).await.unwrap();
}

/// Runs only in the process that will be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let registry = open(Path::new(&dir)).await.unwrap();
    let group: ThingGroupName = "g".parse().unwrap();
    registry.create_thing_group(group.clone(), None, None, Default::default()).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let (registry, group) = (registry.clone(), group.clone());
        writers.spawn(async move {
            // Killed long before the end; the bound is for a parent that died.
            for i in 0..20_000 {
                let name = format!("t-{writer}-{i}");
                create(&registry, &name).await.unwrap();
                registry.add_thing_to_group(&thing(&name), &group).await.unwrap();
                println!("created {name}");
            }
        });
    }
    while writers.join_next().await.is_some() {}
}

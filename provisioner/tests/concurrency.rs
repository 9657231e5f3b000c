//! Many first connections at once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::{AttemptFilter, Change, Operation, Options, Outcome, ReasonCode};
use std::sync::Arc;
use std::time::Duration;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_connections_of_one_certificate_are_one_run_and_one_thing() {
    let site = Arc::new(Site::new().await);
    let ca = authority("Plant");
    site.register(&ca, Some(&plain())).await;
    let device = Device::new(&ca, "pump-1");
    let connections: Vec<_> = (0..1000)
        .map(|_| {
            let (site, device) = (Arc::clone(&site), device.clone());
            tokio::spawn(async move { site.knock(&device).await })
        })
        .collect();
    for connection in connections {
        admitted(connection.await.unwrap());
    }
    let changes = site.changes().await;
    let count = |wanted: fn(&Change) -> bool| changes.iter().filter(|change| wanted(change)).count();
    assert_eq!(count(|c| matches!(c, Change::Thing { operation: Operation::Created, .. })), 1);
    assert_eq!(count(|c| matches!(c, Change::CertificateRegistered { .. })), 1);
    assert_eq!(count(|c| matches!(c, Change::Attempted { .. })), 1);
    assert_eq!(site.attempts(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_wait_for_a_failing_run_get_its_reason_and_none_is_rate_limited() {
    let site = Arc::new(Site::new().await);
    let ca = authority("Plant");
    site.register(&ca, Some(&template(r#","ThingGroups":["missing"]"#, ""))).await;
    let device = Device::new(&ca, "pump-1");
    let knocks = (0..100).map(|_| site.knock(&device));
    let reasons: Vec<ReasonCode> = futures_join(knocks).await.into_iter().map(reason).collect();
    assert!(reasons.contains(&ReasonCode::ThingGroupNotFound));
    // Whoever comes after the landing is limited, whoever waited is not; and there was one run.
    let others =
        |r: &ReasonCode| !matches!(r, ReasonCode::ThingGroupNotFound | ReasonCode::CertificateRateExceeded);
    assert!(!reasons.iter().any(others));
    let registered = |change: &Change| matches!(change, Change::CertificateRegistered { .. });
    assert_eq!(site.changes().await.iter().filter(|c| registered(c)).count(), 1);
    assert_eq!(site.attempts(100).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_devices_at_once_all_get_their_thing_and_share_one_policy() {
    // The last of them waits for all others, and the machine may have other work.
    let patient = Options { run_deadline: Duration::from_secs(600), ..Options::default() };
    let site = Arc::new(Site::with(patient).await);
    let ca = authority("Plant");
    site.create_group("inbound", None).await;
    site.register(&ca, Some(&template(r#","ThingGroups":["inbound"]"#, ""))).await;
    let devices: Vec<Device> = (0..2000).map(|i| Device::new(&ca, &format!("pump-{i}"))).collect();
    let connections: Vec<_> = devices
        .into_iter()
        .map(|device| {
            let site = Arc::clone(&site);
            tokio::spawn(async move { (site.knock(&device).await, device) })
        })
        .collect();
    for connection in connections {
        let (admission, device) = connection.await.unwrap();
        assert!(admitted(admission).provisioned_now);
        assert_eq!(site.things_of(&device).await, [device.name.as_str()]);
    }
    assert_eq!(site.registry().list_policies(&all()).await.unwrap().items.len(), 1);
    let filter = AttemptFilter { outcome: Some(Outcome::Provisioned), ..Default::default() };
    let attempts = site.provisioner.attempts(&filter, None, 10_000).await.unwrap();
    assert_eq!(attempts.len(), 2000);
    assert!(attempts.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
}

/// Drives futures of one task together.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut done = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}

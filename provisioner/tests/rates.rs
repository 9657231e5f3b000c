//! Rates and budgets: what is over them is refused with its own code, and nothing is stored.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::{CaBudget, Options, ReasonCode};
use std::sync::Arc;
use support::*;

#[tokio::test]
async fn a_failing_certificate_may_run_once_per_second() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, Some(&template(r#","ThingGroups":["missing"]"#, ""))).await;
    let (device, other) = (Device::new(&ca, "pump-1"), Device::new(&ca, "pump-2"));
    assert_eq!(site.refused(&device).await.reason, ReasonCode::ThingGroupNotFound);
    site.pass(999);
    let refusal = site.refused(&device).await;
    assert_eq!((refusal.reason, refusal.retry), (ReasonCode::CertificateRateExceeded, true));
    assert_eq!(site.refused(&other).await.reason, ReasonCode::ThingGroupNotFound, "another one may");
    site.pass(1);
    assert_eq!(site.refused(&device).await.reason, ReasonCode::ThingGroupNotFound);
    site.create_group("missing", None).await;
    site.pass(1000);
    site.admitted(&device).await;
    // A device that works is never limited.
    for _ in 0..20 {
        site.admitted(&device).await;
    }
}

#[tokio::test]
async fn a_ca_may_run_as_often_per_second_as_configured() {
    let site = Site::with(Options { runs_per_ca_per_second: 2, ..Options::default() }).await;
    let ca = authority("Plant");
    let id = site.register(&ca, Some(&plain())).await;
    let devices: Vec<Device> = (0..4).map(|i| Device::new(&ca, &format!("pump-{i}"))).collect();
    site.admitted(&devices[0]).await;
    site.admitted(&devices[1]).await;
    let refusal = site.refused(&devices[2]).await;
    assert_eq!((refusal.reason, refusal.retry), (ReasonCode::CaRateExceeded, true));
    assert_eq!(site.certificate(&devices[2]).await, None);
    site.pass(500);
    site.admitted(&devices[2]).await;
    assert_eq!(site.refused(&devices[3]).await.reason, ReasonCode::CaRateExceeded);
    // The operator lifts the limit of this CA.
    let budget = CaBudget { runs_per_second: Some(0), total_runs: None };
    site.registry().set_ca_budget(id, budget).await.unwrap();
    site.admitted(&devices[3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_budget_is_exact_under_load_and_lasts_until_an_operator_raises_it() {
    let site = Arc::new(Site::new().await);
    let ca = authority("Plant");
    let id = site.register(&ca, Some(&plain())).await;
    let total = |total_runs| CaBudget { runs_per_second: None, total_runs };
    site.registry().set_ca_budget(id, total(Some(10))).await.unwrap();
    let devices: Vec<Device> = (0..30).map(|i| Device::new(&ca, &format!("pump-{i}"))).collect();
    let connections: Vec<_> = devices
        .iter()
        .map(|device| {
            let (site, device) = (Arc::clone(&site), device.clone());
            tokio::spawn(async move { site.knock(&device).await })
        })
        .collect();
    let mut refused = Vec::new();
    for (connection, device) in connections.into_iter().zip(&devices) {
        if let jitp_provisioner::Admission::Refused(refusal) = connection.await.unwrap() {
            assert_eq!((refusal.reason, refusal.retry), (ReasonCode::CaBudgetExhausted, false));
            assert_eq!(site.certificate(device).await, None);
            refused.push(device);
        }
    }
    assert_eq!(refused.len(), 20);
    assert_eq!(site.registry().ca_budget_used(id).await.unwrap(), 10);
    site.registry().set_ca_budget(id, total(Some(11))).await.unwrap();
    site.admitted(refused[0]).await;
    assert_eq!(site.refused(refused[1]).await.reason, ReasonCode::CaBudgetExhausted);
    site.registry().set_ca_budget(id, total(None)).await.unwrap();
    site.admitted(refused[1]).await;
}

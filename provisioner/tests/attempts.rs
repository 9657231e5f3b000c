//! The attempt log: complete, ordered, filtered, bounded, and still there after a restart.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::{AttemptFilter, Change, Options, Outcome, Provisioner, ReasonCode, RegistryError};
use std::time::Duration;
use support::*;

#[tokio::test]
async fn attempts_are_listed_newest_first_page_by_page_and_survive_a_restart() {
    let site = Site::new().await;
    let stranger = authority("Stranger");
    for i in 0..10 {
        site.refused(&Device::new(&stranger, &format!("d{i}"))).await;
        site.attempts(i + 1).await;
    }
    let list = async |provisioner: &Provisioner, before, limit| {
        let attempts = provisioner.attempts(&AttemptFilter::default(), before, limit).await.unwrap();
        attempts.into_iter().map(|a| (a.sequence, a.client_id.unwrap())).collect::<Vec<_>>()
    };
    let first = list(&site.provisioner, None, 4).await;
    assert_eq!(first.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["d9", "d8", "d7", "d6"]);
    let second = list(&site.provisioner, Some(first[3].0), 100).await;
    assert_eq!(second.first().unwrap().1, "d5");
    assert_eq!(second.len(), 6);
    site.provisioner.close().await.unwrap();
    let Site { directory, clock, provisioner } = site;
    drop(provisioner);
    let again = Provisioner::open(directory.path(), Options::default(), clock).await.unwrap();
    assert_eq!(list(&again, None, 4).await, first);
}

#[tokio::test]
async fn another_account_or_region_than_at_the_first_start_is_a_clear_error() {
    let site = Site::new().await;
    site.provisioner.close().await.unwrap();
    let Site { directory, clock, provisioner } = site;
    drop(provisioner);
    let options = Options { account: "111111111111".into(), ..Options::default() };
    let error = Provisioner::open(directory.path(), options, clock).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::InvalidRequest(text) if text.contains("000000000000")),
        "{error}"
    );
}

#[tokio::test]
async fn filters_narrow_by_all_their_members() {
    let site = Site::new().await;
    let (ca, stranger) = (authority("Plant"), authority("Stranger"));
    let ca_id = site.register(&ca, Some(&plain())).await;
    let good = Device::new(&ca, "good");
    site.admitted(&good).await;
    site.pass(10);
    let since = jitp_provisioner::Clock::now(&*site.clock);
    site.refused(&Device::new(&stranger, "bad")).await;
    site.attempts(2).await;
    let count =
        async |filter: AttemptFilter| site.provisioner.attempts(&filter, None, 100).await.unwrap().len();
    let any = AttemptFilter::default;
    assert_eq!(count(any()).await, 2);
    assert_eq!(count(AttemptFilter { outcome: Some(Outcome::Refused), ..any() }).await, 1);
    assert_eq!(count(AttemptFilter { reason: Some(ReasonCode::CertificateNotRegistered), ..any() }).await, 1);
    assert_eq!(count(AttemptFilter { certificate_id: Some(good.id), ..any() }).await, 1);
    assert_eq!(count(AttemptFilter { ca_certificate_id: Some(ca_id), ..any() }).await, 1);
    assert_eq!(count(AttemptFilter { client_id: Some("bad".into()), ..any() }).await, 1);
    assert_eq!(count(AttemptFilter { since: Some(since), ..any() }).await, 1);
    let both = AttemptFilter { client_id: Some("good".into()), outcome: Some(Outcome::Refused), ..any() };
    assert_eq!(count(both).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_sees_every_attempt_once_and_in_order() {
    let site = std::sync::Arc::new(Site::new().await);
    let (ca, stranger) = (authority("Plant"), authority("Stranger"));
    site.register(&ca, Some(&plain())).await;
    const EACH: usize = 200;
    let visitors: Vec<_> = (0..EACH)
        .flat_map(|i| [Device::new(&ca, &format!("good-{i}")), Device::new(&stranger, &format!("bad-{i}"))])
        .map(|device| {
            let site = std::sync::Arc::clone(&site);
            tokio::spawn(async move { drop(site.knock(&device).await) })
        })
        .collect();
    let (mut after, mut seen) = (0, Vec::new());
    while seen.len() < 2 * EACH {
        let latest = site.provisioner.changes().latest();
        let more =
            site.provisioner.attempt_log().list_after(&AttemptFilter::default(), after, 16).await.unwrap();
        match more.last() {
            Some(last) => after = last.sequence,
            None => site.provisioner.changes().beyond(latest).await,
        }
        seen.extend(more.into_iter().map(|attempt| attempt.sequence));
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    for visitor in visitors {
        visitor.await.unwrap();
    }
    assert_eq!(site.attempts(2 * EACH).await.len(), 2 * EACH);
}

#[tokio::test]
async fn attempts_beyond_their_age_are_not_listed_and_sequences_go_on_rising() {
    let options = Options { attempts_kept_for: Duration::from_secs(60), ..Options::default() };
    let site = Site::with(options).await;
    let device = Device::new(&authority("Stranger"), "d");
    site.refused(&device).await;
    let first = site.attempts(1).await.remove(0);
    site.pass(61_000);
    assert!(site.provisioner.attempts(&AttemptFilter::default(), None, 100).await.unwrap().is_empty());
    site.refused(&device).await;
    assert!(site.attempts(1).await[0].sequence > first.sequence);
}

#[tokio::test]
async fn refusals_decided_elsewhere_are_kept_too_and_every_attempt_is_in_the_change_feed() {
    let site = Site::new().await;
    let stranger = authority("Stranger");
    site.refused(&Device::new(&stranger, "a")).await;
    let mut attempt = site.attempts(1).await.remove(0);
    attempt.reason = ReasonCode::TlsHandshakeFailed;
    attempt.message = "the client spoke no TLS: point it at the right port".into();
    site.pass(5);
    site.provisioner.record_refusal(attempt);
    let listed = site.attempts(2).await;
    assert_eq!(listed[0].reason, ReasonCode::TlsHandshakeFailed);
    assert_eq!(listed[0].timestamp.0, NOW + 5);
    assert!(listed[0].sequence > listed[1].sequence);
    let mut fed: Vec<_> = site
        .changes()
        .await
        .into_iter()
        .filter_map(|change| match change {
            Change::Attempted { sequence, .. } => Some(sequence),
            _ => None,
        })
        .collect();
    fed.reverse();
    assert_eq!(fed, listed.iter().map(|attempt| attempt.sequence).collect::<Vec<_>>());
}

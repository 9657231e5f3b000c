//! Connections follow the registry (`spec/policies.md` section 4, `spec/jitp.md` section 9).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::certs::Validity;
use jitp_provisioner::records::{CertificateStatus, PolicyTarget};
use jitp_provisioner::{Clock, SystemClock};
use std::time::Duration;
use support::*;
use tokio::time::Instant;

/// A second is what is promised; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_revoked_certificate_ends_its_connections_soon() {
    for status in [CertificateStatus::Revoked, CertificateStatus::Inactive] {
        let world = World::new().await;
        let (device, other) = (world.device("a"), world.device("b"));
        let mut five = world.online(&device, 5, "five").await;
        let mut three = world.online(&device, 4, "three").await;
        let mut bystander = world.online(&other, 4, "b").await;
        let revoked = Instant::now();
        world.registry().update_certificate(device.id, status).await.unwrap();
        five.disconnected(0x87).await;
        three.closed().await;
        assert!(revoked.elapsed() < SOON, "{:?}", revoked.elapsed());
        bystander.ping().await;
    }
}

#[tokio::test]
async fn a_changed_policy_counts_for_the_next_publish_soon() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.online(&device, 5, "a").await;
    wire.send(&publish(5, "t", b"x", 1, 1)).await;
    assert_eq!(wire.packet().await, puback(1));
    world.set_policy(&allow(&[("iot:Connect", "*")])).await;
    refused_soon(&mut wire).await;
    world.set_policy(EVERYTHING).await;
    let changed = Instant::now();
    loop {
        wire.send(&publish(5, "t", b"x", 1, 1)).await;
        if wire.packet().await == puback(1) {
            break;
        }
        assert!(changed.elapsed() < SOON);
    }
}

/// More than are marked at once.
#[tokio::test]
async fn a_changed_policy_counts_for_every_one_of_very_many_connections() {
    const CONNECTIONS: usize = 300;
    let world = World::new().await;
    let device = world.device("a");
    let mut wires = Vec::new();
    for number in 0..CONNECTIONS {
        wires.push(world.online(&device, 5, &format!("a-{number}")).await);
    }
    world.set_policy(&allow(&[("iot:Connect", "*")])).await;
    for wire in &mut wires {
        refused_soon(wire).await;
    }
}

#[tokio::test]
async fn a_detached_policy_counts_too() {
    let world = World::new().await;
    let device = world.device("a");
    let mut wire = world.online(&device, 5, "a").await;
    let target = PolicyTarget::Certificate(device.id);
    world.registry().detach_policy(&policy_name(), &target).await.unwrap();
    refused_soon(&mut wire).await;
}

#[tokio::test]
async fn a_connection_whose_connect_is_no_longer_allowed_stays_unless_asked_for() {
    for recheck in [false, true] {
        let world = World::with(EVERYTHING, |config| config.recheck_connect = recheck).await;
        let device = world.device("a");
        let mut wire = world.online(&device, 5, "a").await;
        world.set_policy(&allow(&[("iot:Publish", "*")])).await;
        if recheck {
            wire.disconnected(0x87).await;
        } else {
            wire.ping().await;
        }
    }
}

#[tokio::test]
async fn a_connection_ends_when_its_certificate_expires_if_asked_for() {
    let world = World::with(EVERYTHING, |config| config.disconnect_at_expiry = true).await;
    let now = SystemClock.now().unix_seconds();
    let device = world.device_until("a", Validity { not_before: now - 60, not_after: now + 2 });
    let mut wire = world.online(&device, 5, "a").await;
    wire.disconnected(0x87).await;
    assert!(SystemClock.now().unix_seconds() > now + 1);
}

#[tokio::test]
async fn a_will_is_not_published_when_the_policies_no_longer_allow_it() {
    let world = World::new().await;
    let (a, b) = (world.device("a"), world.device("b"));
    let mut watcher = world.online(&b, 4, "b").await;
    watcher.subscribe(4, "wills/#", 0).await;
    let mut wire = world.wire(&a).await;
    let connect = Connect { will: Some(("wills/a", "gone", 0, false)), ..Connect::new(5, "a") };
    assert_eq!(wire.connect(&connect).await, 0);
    world
        .set_policy(&allow(&[("iot:Connect", "*"), ("iot:Receive", "*"), ("iot:Publish", "topic/other")]))
        .await;
    refused_soon(&mut wire).await;
    drop(wire);
    // The takeover waits for the end of the old connection.
    world.online(&a, 4, "a").await;
    watcher.ping().await;
}

#[tokio::test]
async fn a_will_with_a_delay_is_published_only_if_that_is_still_allowed_when_it_is_due() {
    // On a busy machine the first ones may be due before the others have left and something has changed.
    for delay in [2, 8, 32, 128] {
        if wills_that_are_still_allowed(delay).await {
            return;
        }
    }
    panic!("wills are always due before the policies have changed");
}

/// Which wills are published that are due so many seconds after their clients have left, where policies change meanwhile. Returns whether
/// the change was in time.
async fn wills_that_are_still_allowed(delay: u8) -> bool {
    let world = World::new().await;
    let mut watcher = world.online(&world.device("watcher"), 4, "watcher").await;
    watcher.subscribe(4, "wills/#", 0).await;
    let names = ["allowed", "deactivated", "detached", "last"];
    let devices = names.map(|name| world.device(name));
    let started = Instant::now();
    for (n, (name, device)) in names.iter().zip(&devices).enumerate() {
        let topic = format!("wills/{name}");
        let connect = Connect {
            will: Some((&topic, "gone", 0, false)),
            // Will Delay Interval, and a Session Expiry Interval above it. The last one is due after all others.
            will_properties: &[0x18, 0, 0, 0, delay + u8::from(n == 3)],
            properties: &[0x11, 0, 0, 0, 255],
            ..Connect::new(5, name)
        };
        let mut wire = world.wire(device).await;
        assert_eq!(wire.connect(&connect).await, 0);
        wire.send(&packet(0xe0, &[0x04])).await;
        wire.closed().await;
    }
    let registry = world.registry();
    registry.update_certificate(devices[1].id, CertificateStatus::Inactive).await.unwrap();
    registry.detach_policy(&policy_name(), &PolicyTarget::Certificate(devices[2].id)).await.unwrap();
    if started.elapsed() >= Duration::from_secs(delay.into()) {
        return false;
    }
    for expected in ["wills/allowed", "wills/last"] {
        assert_eq!(Publish::read(&watcher.packet().await, 4).topic, expected);
    }
    true
}

async fn refused_soon(wire: &mut Wire) {
    let changed = Instant::now();
    loop {
        wire.send(&publish(5, "t", b"x", 1, 1)).await;
        if wire.packet().await == packet(0x40, &[0, 1, 0x87]) {
            return;
        }
        assert!(changed.elapsed() < SOON);
    }
}

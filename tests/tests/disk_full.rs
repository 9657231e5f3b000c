//! The disk is full: provisioning stops and says so, what runs goes on, and it heals when there is room again.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_tests::{BrokerOptions, Plant, SmallDisk, Wire, eventually};
use serde_json::json;

async fn refused(plant: &Plant, name: &str) -> anyhow::Result<()> {
    let device = plant.factory.device(name)?;
    let (_, answer) = Wire::connect5(&plant.broker, &device, name).await?;
    ensure!(answer.connack_code()? != 0, "{name} was let in without room for it");
    ensure!(answer.text().contains("REGISTRY_UNAVAILABLE"), "{answer:?} {}", answer.text());
    Ok(())
}

async fn accepted(plant: &Plant, name: &str) -> anyhow::Result<Wire> {
    let (wire, answer) = Wire::connect5(&plant.broker, &*plant.factory.device(name)?, name).await?;
    ensure!(answer.connack_code()? == 0, "{answer:?} {}", answer.text());
    Ok(wire)
}

/// Every thing has its certificate.
fn whole(plant: &Plant, expected: &[&str]) -> anyhow::Result<()> {
    let things = plant.broker.ask(&["thing", "list"])?;
    let mut names: Vec<&str> = things
        .as_array()
        .context("no list")?
        .iter()
        .filter_map(|thing| thing["thingName"].as_str())
        .collect();
    names.sort_unstable();
    ensure!(names == expected, "{names:?}");
    for name in names {
        let thing = plant.broker.ask(&["thing", "show", name])?;
        ensure!(thing["principals"].as_array().map(Vec::len) == Some(1), "{thing:#}");
    }
    Ok(())
}

#[tokio::test]
async fn below_the_configured_rest_provisioning_stops_and_comes_back_by_itself() -> anyhow::Result<()> {
    let Some(disk) = SmallDisk::of(200)? else { return configured_rest().await };
    let options =
        BrokerOptions { data_dir: Some(disk.path().join("data")), ..BrokerOptions::config(MODEST_CACHE) };
    let plant = Plant::with(options)?;
    let mut session = accepted(&plant, "a-before").await?;
    assert!(plant.broker.is_ready().await?);

    disk.fill(150)?;
    refused(&plant, "b-without-room").await?;
    assert!(!plant.broker.is_ready().await?);
    assert!([0, 0x10].contains(&session.publishes5("devices/a-before/x", b"still here").await?));
    let reply = plant.broker.api()?.call("POST", "/things/by-hand", Some(&json!({})), None).await?;
    assert_eq!(reply.status, 503, "{reply:?}");

    disk.make_room()?;
    eventually("ready again", || async { Ok(plant.broker.is_ready().await?.then_some(())) }).await?;
    accepted(&plant, "c-after").await?;
    session.ping().await?;
    whole(&plant, &["a-before", "c-after"])?;
    let mut plant = plant;
    plant.broker.kill()?;
    let plant = plant.restart()?;
    whole(&plant, &["a-before", "c-after"])
}

/// The registry's cache takes its share of a small disk.
const MODEST_CACHE: &str = "[registry]\ncache_bytes = 8388608\n";

/// The same without a disk of its own: the configuration asks for more room than any disk has.
async fn configured_rest() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    drop(accepted(&plant, "a-before").await?);
    let device = plant.factory.device("a-before")?;
    plant.broker.terminate()?;
    let endless = format!("[registry]\nmin_free_disk_bytes = {}\n", i64::MAX);
    let Plant { broker, factory, staff } = plant;
    let plant = Plant { broker: broker.restart_with(BrokerOptions::config(&endless))?, factory, staff };
    assert!(!plant.broker.is_ready().await?);
    refused(&plant, "b-without-room").await?;
    drop(device);
    let Plant { mut broker, factory, staff } = plant;
    broker.kill()?;
    let plant = Plant { broker: broker.restart_with(BrokerOptions::default())?, factory, staff };
    assert!(plant.broker.is_ready().await?);
    accepted(&plant, "c-after").await?;
    whole(&plant, &["a-before", "c-after"])
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_byte_leaves_nothing_half_written() -> anyhow::Result<()> {
    let Some(disk) = SmallDisk::of(64)? else { return Ok(()) };
    let config = format!("{MODEST_CACHE}min_free_disk_bytes = 0\n");
    let options =
        BrokerOptions { data_dir: Some(disk.path().join("data")), ..BrokerOptions::config(&config) };
    let mut plant = Plant::with(options)?;
    let mut session = accepted(&plant, "a-before").await?;
    disk.fill(64)?;
    // What still fits in files that exist already may still succeed.
    let mut expected = vec!["a-before".to_owned()];
    let mut number = 0;
    loop {
        let name = format!("b-{number:05}");
        let (_, answer) = Wire::connect5(&plant.broker, &*plant.factory.device(&name)?, &name).await?;
        if answer.connack_code()? != 0 {
            ensure!(answer.text().contains("REGISTRY_UNAVAILABLE"), "{answer:?} {}", answer.text());
            break;
        }
        expected.push(name);
        number += 1;
        ensure!(number < 10_000, "the disk never gets full");
    }
    assert!(!plant.broker.is_ready().await?);
    assert!([0, 0x10].contains(&session.publishes5("devices/a-before/x", b"still here").await?));
    disk.make_room()?;
    plant.broker.kill()?;
    let plant = plant.restart()?;
    assert!(plant.broker.is_ready().await?);
    let names: Vec<&str> = expected.iter().map(String::as_str).collect();
    whole(&plant, &names)?;
    accepted(&plant, "c-after").await.map(|_| ())
}

//! Many at once.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_tests::{Factory, Frame, OPEN_TEMPLATE, Plant, Wire, wire};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

/// Everybody shakes hands, waits for the last one, and sends CONNECT; all stay until everybody has an answer.
async fn all_at_once(
    plant: &Plant,
    device: &jitp_certs::Issued,
    packets: Vec<Vec<u8>>,
) -> anyhow::Result<Vec<(Wire, Option<Frame>)>> {
    let (config, address) = (wire::device_tls(&plant.broker, device)?, plant.broker.mqtt());
    let barrier = Arc::new(Barrier::new(packets.len()));
    let mut clients = JoinSet::new();
    for packet in packets {
        let (config, barrier) = (config.clone(), barrier.clone());
        clients.spawn(async move {
            let opened = Wire::open_with(address, config).await;
            barrier.wait().await;
            let mut wire = opened?;
            wire.send(&packet).await?;
            let answer = wire.receive().await?;
            anyhow::Ok((wire, answer))
        });
    }
    clients.join_all().await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_connections_of_one_certificate_provision_one_thing_once() -> anyhow::Result<()> {
    let plant = Plant::unhurried()?;
    // A policy that allows any client id, so that nobody is taken over.
    let factory = Factory::new("Crowd CA")?;
    let mut template: Value = serde_json::from_str(jitp_tests::TEMPLATE)?;
    let open: Value = serde_json::from_str(OPEN_TEMPLATE)?;
    template["Resources"]["policy"] = open["Resources"]["policy"].clone();
    factory.register(&plant.broker, &template.to_string())?;
    let device = factory.device("crowd")?;
    let packets = (0..1000).map(|number| wire::connect(4, &format!("crowd-{number}"))).collect();
    let answers = all_at_once(&plant, &device, packets).await?;
    for (_, answer) in &answers {
        let answer = answer.as_ref().context("closed without CONNACK")?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
    }
    let thing = plant.broker.ask(&["thing", "show", "crowd"])?;
    assert_eq!(thing["thing"]["version"], 1);
    assert_eq!(thing["principals"].as_array().map(Vec::len), Some(1));
    assert_eq!(plant.broker.ask(&["cert", "list", "--ca", &factory.id()])?.as_array().map(Vec::len), Some(1));
    let attempts = plant.broker.ask(&["attempts", "--certificate", &device.id(), "--limit", "1000"])?;
    let reasons: Vec<&Value> = attempts.as_array().context("no list")?.iter().map(|a| &a["reason"]).collect();
    assert_eq!(reasons, ["PROVISIONED"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn first_connections_with_one_client_id_are_closed_by_takeover_only() -> anyhow::Result<()> {
    let plant = Plant::unhurried()?;
    let device = plant.factory.device("coveted")?;
    let answers = all_at_once(&plant, &device, vec![wire::connect(5, "coveted"); 200]).await?;
    let mut remaining = 0;
    for (mut wire, answer) in answers {
        let answer = answer.context("closed without an answer")?;
        // 0x89: a later one came while it waited for its turn.
        ensure!([0, 0x89].contains(&answer.connack_code()?), "{answer:?} {}", answer.text());
        wire.send(&wire::PINGREQ).await.ok();
        match wire.receive().await? {
            Some(frame) if frame.kind() == 13 => remaining += 1,
            Some(frame) => {
                ensure!(
                    (frame.kind(), frame.body.first()) == (14, Some(&0x8e)),
                    "{frame:?} {}",
                    frame.text()
                );
            }
            // The goodbye may be lost when both sides write at the same moment.
            None => {}
        }
    }
    assert_eq!(remaining, 1);
    assert_eq!(plant.broker.attempts(&device.id(), 1)?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_different_devices_are_all_provisioned() -> anyhow::Result<()> {
    const DEVICES: usize = 10_000;
    const AT_A_TIME: usize = 128;
    let plant = Plant::unhurried()?;
    let devices = plant.factory.devices("fleet", DEVICES)?;
    let gate = Arc::new(Semaphore::new(AT_A_TIME));
    let mut clients = JoinSet::new();
    for (number, device) in devices.into_iter().enumerate() {
        let turn = gate.clone().acquire_owned().await?;
        let (config, address) = (wire::device_tls(&plant.broker, &device)?, plant.broker.mqtt());
        clients.spawn(async move {
            let name = format!("fleet-{number}");
            let mut wire = Wire::open_with(address, config).await.with_context(|| name.clone())?;
            wire.send(&wire::connect(4, &name)).await?;
            let answer = wire.receive().await?.with_context(|| format!("{name} was closed"))?;
            ensure!(answer.connack_code()? == 0, "{name}: {answer:?}");
            drop(turn);
            anyhow::Ok(())
        });
    }
    clients.join_all().await.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    let things = plant.broker.ask(&["thing", "list"])?;
    assert_eq!(things.as_array().map(Vec::len), Some(DEVICES));
    let certificates = plant.broker.ask(&["cert", "list", "--ca", &plant.factory.id()])?;
    let certificates = certificates.as_array().context("no list")?;
    assert_eq!(certificates.len(), DEVICES);
    assert!(certificates.iter().all(|certificate| certificate["status"] == "ACTIVE"));
    Ok(())
}

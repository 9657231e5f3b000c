//! Archives, seeds and resets of a running broker.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_tests::wire::{connect_persistent, publish, subscribe};
use jitp_tests::{Broker, BrokerOptions, Finished, Frame, OPEN_TEMPLATE, POLICY, Plant, TEMPLATE, Wire};
use serde_json::{Value, json};
use std::path::Path;

async fn create_things(broker: &Broker, count: usize) -> anyhow::Result<()> {
    let api = broker.api()?;
    for n in 0..count {
        api.post(&format!("/things/pump-{n:03}"), &json!({})).await?;
    }
    Ok(())
}

async fn thing_names(broker: &Broker) -> anyhow::Result<Vec<String>> {
    let things = broker.api()?.list("/things?maxResults=250", "things", "nextToken", "nextToken").await?;
    Ok(things.iter().filter_map(|thing| thing["thingName"].as_str().map(str::to_owned)).collect())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn what_one_broker_exports_another_serves() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    create_things(&broker, 20).await?;
    broker.run(&["key", "create", "--role", "viewer"])?;
    let desk = tempfile::tempdir()?;
    let file = desk.path().join("plant.jsonl");
    let exported = broker.run(&["export", &text(&file)])?;
    ensure!(exported.code == Some(0) && exported.stdout.contains("records are in"), "{exported:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions());
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    let again = broker.run(&["export", &text(&file)])?;
    ensure!(again.code == Some(3) && again.stderr.contains("exists already"), "{again:?}");
    ensure!(std::fs::read_dir(desk.path())?.count() == 1, "something is left over");

    let busy = broker.run(&["import", &text(&file)])?;
    ensure!(busy.code == Some(1) && busy.stderr.contains("another process"), "{busy:?}");
    let target = text(&desk.path().join("restored"));
    let imported = Finished::of(desk.path(), &["import", &text(&file), "--data-dir", &target])?;
    ensure!(imported.code == Some(0), "{imported:?}");
    let twice = Finished::of(desk.path(), &["import", &text(&file), "--data-dir", &target])?;
    ensure!(twice.code == Some(3) && twice.stderr.contains("content already"), "{twice:?}");
    let options = BrokerOptions { data_dir: Some(target.into()), ..BrokerOptions::default() };
    let restored = Broker::start_with(options)?;
    ensure!(thing_names(&restored).await? == thing_names(&broker).await?);
    let keys = restored.run(&["key", "list", "--json"])?.json()?;
    ensure!(keys.as_array().map(Vec::len) == Some(1), "{keys}");
    Ok(())
}

#[tokio::test]
async fn a_seed_is_loaded_once_and_a_damaged_one_stops_the_start() -> anyhow::Result<()> {
    let source = Broker::start()?;
    create_things(&source, 5).await?;
    let desk = tempfile::tempdir()?;
    let file = desk.path().join("seed.jsonl");
    ensure!(source.run(&["export", &text(&file)])?.code == Some(0));

    let mut broker = Broker::start_with(BrokerOptions::arguments(&["--seed", &text(&file)]))?;
    ensure!(thing_names(&broker).await?.len() == 5);
    broker.api()?.delete("/things/pump-000").await?;
    broker.terminate()?;
    let broker = broker.restart()?;
    ensure!(thing_names(&broker).await?.len() == 4, "it was seeded again");

    let whole = std::fs::read(&file)?;
    std::fs::write(&file, whole.get(..whole.len() / 2).unwrap_or_default())?;
    let refused = Broker::refused(BrokerOptions::arguments(&["--seed", &text(&file)]))?;
    ensure!(refused.code == Some(3) && refused.stderr.contains("incomplete"), "{refused:?}");
    std::fs::write(&file, whole)?;
    let elsewhere = ["--seed", &text(&file), "--region", "eu-west-1"];
    let refused = Broker::refused(BrokerOptions::arguments(&elsewhere))?;
    ensure!(refused.code == Some(3) && refused.stderr.contains("in region us-east-1"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_reset_returns_to_the_seed_ends_every_session_and_lets_devices_come_anew() -> anyhow::Result<()> {
    let plant = Plant::with(BrokerOptions::arguments(&["--allow-reset"]))?;
    let broker = &plant.broker;
    create_things(broker, 100).await?;
    let device = plant.factory.device("pump-0042")?;
    let (mut wire, answer) = Wire::connect5(broker, &device, "pump-0042").await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    let viewer = broker.run(&["key", "create", "--role", "operator", "--json"])?.json()?;

    let done = broker.run(&["reset", "--yes"])?;
    ensure!(done.code == Some(0) && done.stdout == "the registry is what it began with\n", "{done:?}");
    ensure!(thing_names(broker).await?.is_empty());
    let goodbye = wire.receive().await?.context("closed without DISCONNECT")?;
    ensure!((goodbye.kind(), goodbye.body.first()) == (14, Some(&0x98)), "{goodbye:?}");
    ensure!(wire.receive().await?.is_none(), "still open");
    let denied = broker.run_with(
        &["thing", "list"],
        &[
            ("JITP_ACCESS_KEY_ID", viewer["accessKeyId"].as_str().unwrap_or_default()),
            ("JITP_SECRET_ACCESS_KEY", viewer["secretAccessKey"].as_str().unwrap_or_default()),
        ],
    )?;
    ensure!(denied.code == Some(1), "the key is still there: {denied:?}");
    let audit = broker.run(&["audit", "--operation", "ResetRegistry", "--json"])?.json()?;
    ensure!(audit.as_array().map(Vec::len) == Some(1), "{audit}");
    ensure!(broker.run(&["attempts"])?.stdout == "none\n");

    let policy = plant.factory.file("device-policy.json", POLICY)?;
    broker.ask(&["policy", "create", "device", "--document", &text(&policy)])?;
    plant.factory.register(broker, TEMPLATE)?;
    let (_wire, answer) = Wire::connect5(broker, &device, "pump-0042").await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    ensure!(thing_names(broker).await? == ["pump-0042"]);
    Ok(())
}

#[tokio::test]
async fn a_reset_forgets_sessions_that_wait_and_retained_messages() -> anyhow::Result<()> {
    let plant = Plant::with(BrokerOptions::arguments(&["--allow-reset"]))?;
    let broker = &plant.broker;
    let device = plant.staff.device("recorder")?;
    let session_present = async || {
        let (mut wire, answer) = Wire::connect_as(broker, &device, &connect_persistent("recorder")).await?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
        wire.send(&subscribe("plant/#", 1, 7)).await?;
        let heard: Vec<u8> = wire.heard().await?.iter().map(Frame::kind).collect();
        anyhow::Ok((answer.body.first() == Some(&1), heard))
    };
    ensure!(session_present().await? == (false, vec![9]));
    let mut retained = publish("plant/state", b"on", 1, 8);
    retained[0] |= 1;
    let (mut wire, _) = Wire::connect_as(broker, &device, &connect_persistent("sender")).await?;
    wire.send(&retained).await?;
    ensure!(wire.receive().await?.context("closed")?.kind() == 4);
    drop(wire);
    let (present, heard) = session_present().await?;
    ensure!(present && heard.contains(&3), "{present} {heard:?}");

    broker.api()?.post("/jitp/v1/reset", &Value::Null).await?;
    plant.staff.register(broker, OPEN_TEMPLATE)?;
    ensure!(session_present().await? == (false, vec![9]), "something was not forgotten");
    Ok(())
}

#[tokio::test]
async fn without_the_flag_there_is_no_reset() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    create_things(&broker, 1).await?;
    let reply = broker.api()?.call("POST", "/jitp/v1/reset", None, None).await?;
    ensure!(
        reply.status == 404 && reply.exception.as_deref() == Some("UnknownOperationException"),
        "{reply:?}"
    );
    let refused = broker.run(&["reset", "--yes"])?;
    ensure!(refused.code == Some(3) && refused.stderr.contains("--allow-reset"), "{refused:?}");
    ensure!(thing_names(&broker).await?.len() == 1);
    Ok(())
}

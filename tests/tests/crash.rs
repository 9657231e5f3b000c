//! The broker is killed: what it promised is there, and nothing is half there.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_certs::Issued;
use jitp_tests::{Api, Broker, BrokerOptions, Plant, Wire, wire};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Sends every device of a batch at once; each that got CONNACK 0 is named on the channel. Errors are the crash's.
fn storm(
    broker: &Broker,
    devices: &[(String, Issued)],
    at_a_time: usize,
) -> anyhow::Result<mpsc::UnboundedReceiver<String>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(at_a_time));
    for (name, device) in devices {
        let (config, address) = (wire::device_tls(broker, device)?, broker.mqtt());
        let (name, sender, gate) = (name.clone(), sender.clone(), gate.clone());
        tokio::spawn(async move {
            let _turn = gate.acquire_owned().await?;
            let mut wire = Wire::open_with(address, config).await?;
            wire.send(&wire::connect(4, &name)).await?;
            let answer = wire.receive().await?.context("closed")?;
            if answer.connack_code()? == 0 {
                sender.send(name)?;
            }
            anyhow::Ok(())
        });
    }
    Ok(receiver)
}

/// What the registry holds about the devices of a CA: by thing, its certificate. Fails when anything is half there.
async fn whole(api: &Api, ca: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut whole = BTreeMap::new();
    for thing in api.list("/things?maxResults=250", "things", "nextToken", "nextToken").await? {
        let name = thing["thingName"].as_str().context("a thing without a name")?.to_owned();
        let path = format!("/things/{name}/principals?maxResults=250");
        let principals = api.list(&path, "principals", "nextToken", "nextToken").await?;
        let [arn] = principals.as_slice() else {
            anyhow::bail!("{name} has not one principal: {principals:?}")
        };
        let id = arn.as_str().and_then(|arn| arn.rsplit('/').next()).context("no ARN")?;
        whole.insert(name, id.to_owned());
    }
    let path = format!("/certificates-by-ca/{ca}?pageSize=250");
    for certificate in api.list(&path, "certificates", "nextMarker", "marker").await? {
        let (id, arn) = (certificate["certificateId"].clone(), certificate["certificateArn"].clone());
        let arn = arn.as_str().context("no ARN")?;
        let things = api.call("GET", "/principals/things", None, Some(arn)).await?.ok()?;
        let policies = api.post(&format!("/attached-policies/{}", encode(arn)), &json!({})).await?;
        let policies: Vec<&Value> =
            policies["policies"].as_array().context("no list")?.iter().map(|p| &p["policyName"]).collect();
        if certificate["status"] == "ACTIVE" {
            let thing = things["things"][0].as_str().with_context(|| format!("{id} has no thing"))?;
            ensure!(
                whole.get(thing).map(String::as_str) == id.as_str(),
                "{thing} and {id} do not point at each other"
            );
            ensure!(policies == ["device"], "{thing}: {policies:?}");
        } else {
            ensure!(certificate["status"] == "PENDING_ACTIVATION", "{certificate:#}");
            ensure!(
                things["things"] == json!([]) && policies.is_empty(),
                "half provisioned: {certificate:#}"
            );
        }
    }
    Ok(whole)
}

fn encode(arn: &str) -> String {
    arn.replace(':', "%3A").replace('/', "%2F")
}

fn batch(plant: &Plant, prefix: &str, count: usize) -> anyhow::Result<Vec<(String, Issued)>> {
    let devices = plant.factory.devices(prefix, count)?;
    Ok(devices
        .into_iter()
        .enumerate()
        .map(|(number, device)| (format!("{prefix}-{number}"), device))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_in_a_storm_of_first_connections_keeps_every_accepted_device_whole()
-> anyhow::Result<()> {
    const DEVICES: usize = 150;
    let mut plant = Plant::unhurried()?;
    let mut accepted = BTreeSet::new();
    for (round, accepted_before_the_kill) in [1, 13, 50, 90].into_iter().enumerate() {
        let devices = batch(&plant, &format!("storm-{round}"), DEVICES)?;
        let mut answers = storm(&plant.broker, &devices, 64)?;
        for _ in 0..accepted_before_the_kill {
            accepted.insert(answers.recv().await.context("nobody is accepted")?);
        }
        plant.broker.kill()?;
        while let Some(name) = answers.recv().await {
            accepted.insert(name);
        }
        plant = plant.restart()?;
        let whole = whole(&plant.broker.api()?, &plant.factory.id()).await?;
        let lost: Vec<&String> = accepted.iter().filter(|name| !whole.contains_key(*name)).collect();
        ensure!(lost.is_empty(), "accepted before the kill, lost after it: {lost:?}");

        let mut answers = storm(&plant.broker, &devices, 64)?;
        while let Some(name) = answers.recv().await {
            accepted.insert(name);
        }
        let missing: Vec<&String> =
            devices.iter().map(|(name, _)| name).filter(|name| !accepted.contains(*name)).collect();
        ensure!(missing.is_empty(), "not let in after the restart: {missing:?}");
    }
    let whole = whole(&plant.broker.api()?, &plant.factory.id()).await?;
    assert_eq!(whole.keys().collect::<BTreeSet<_>>(), accepted.iter().collect::<BTreeSet<_>>());
    let ca = plant.factory.id();
    let attempts =
        plant.broker.ask(&["attempts", "--ca", &ca, "--outcome", "provisioned", "--limit", "1000"])?;
    let attempts = attempts.as_array().context("no list")?;
    let things: BTreeSet<&str> =
        attempts.iter().filter_map(|attempt| attempt["thingName"].as_str()).collect();
    assert_eq!(
        (attempts.len(), things.len()),
        (whole.len(), whole.len()),
        "one provisioning for each device"
    );
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_waits_keeps_waiting_after_a_kill() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    let device = plant.factory.device("not a name")?;
    let (_, answer) = Wire::connect(&plant.broker, &device, "x").await?;
    assert_eq!(answer.connack_code()?, 5);
    plant.broker.kill()?;
    let plant = plant.restart()?;
    let certificate = plant.broker.ask(&["cert", "show", &device.id()])?;
    assert_eq!(certificate["certificateDescription"]["status"], "PENDING_ACTIVATION");
    assert_eq!(plant.broker.attempts(&device.id(), 1)?[0]["reason"], "TEMPLATE_VALUE_INVALID");
    Ok(())
}

#[tokio::test]
async fn a_data_directory_is_served_by_one_broker_at_a_time() -> anyhow::Result<()> {
    let mut broker = Broker::start()?;
    let same = || BrokerOptions { data_dir: Some(broker.data_dir().to_owned()), ..BrokerOptions::default() };
    let second = Broker::refused(same())?;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another process has this data directory open"), "{}", second.stderr);
    assert!(second.stderr.contains(&broker.data_dir().display().to_string()), "{}", second.stderr);
    let options = same();
    broker.kill()?;
    Broker::start_with(options).map(|_| ())
}

#[tokio::test]
async fn a_registry_of_a_newer_format_is_refused() -> anyhow::Result<()> {
    let mut broker = Broker::start()?;
    assert_eq!(broker.terminate()?, Some(0));
    let format = broker.data_dir().join("registry/FORMAT");
    let text = std::fs::read_to_string(&format)?;
    std::fs::write(&format, text.replace("format 4", "format 999"))?;
    let options = BrokerOptions { data_dir: Some(broker.data_dir().to_owned()), ..BrokerOptions::default() };
    let refused = Broker::refused(options.clone())?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("newer jitp"), "{}", refused.stderr);
    std::fs::write(&format, text)?;
    Broker::start_with(options).map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_among_calls_has_a_record_of_every_change_and_a_change_for_every_record()
-> anyhow::Result<()> {
    let mut broker = Broker::start()?;
    for (round, answered_before_the_kill) in [1, 20, 60].into_iter().enumerate() {
        let api = Arc::new(broker.api()?);
        let (sender, mut answered) = mpsc::unbounded_channel();
        for caller in 0..8 {
            let (api, sender) = (Arc::clone(&api), sender.clone());
            // Errors are the crash's.
            tokio::spawn(async move {
                for n in 0..40 {
                    let name = format!("pump-{round}-{caller}-{n}");
                    api.post(&format!("/things/{name}"), &json!({})).await?;
                    sender.send(name)?;
                }
                anyhow::Ok(())
            });
        }
        drop(sender);
        let mut done = BTreeSet::new();
        for _ in 0..answered_before_the_kill {
            done.insert(answered.recv().await.context("nobody is answered")?);
        }
        broker.kill()?;
        while let Some(name) = answered.recv().await {
            done.insert(name);
        }
        broker = broker.restart()?;
        let api = broker.api()?;
        let things = api.list("/things?maxResults=250", "things", "nextToken", "nextToken").await?;
        let there = |thing: &Value| thing["thingName"].as_str().map(str::to_owned);
        let there: BTreeSet<String> = things.iter().filter_map(there).collect();
        let audit = api.get("/jitp/v1/audit?operation=CreateThing&limit=1000").await?;
        let records = audit["records"].as_array().context("no records")?;
        let recorded = |record: &Value| record["resources"]["thingName"].as_str().map(str::to_owned);
        let recorded: BTreeSet<String> = records.iter().filter_map(recorded).collect();
        assert_eq!(there, recorded, "round {round}");
        ensure!(recorded.is_superset(&done), "answered before the kill, lost after it");
    }
    Ok(())
}

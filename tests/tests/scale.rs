//! Many sessions at once, as far as a test machine carries them: what `jitp-bench scale` measures is also right.
use anyhow::{Context, ensure};
use jitp_tests::{Broker, Plant, Wire, wire};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Devices on sockets.
const FLEET: usize = 150;
/// Sessions and retained messages over which the broker starts.
const SESSIONS: usize = 120;
const RETAINED: usize = 3000;
/// Messages that one client has under way.
const WINDOW: usize = 50;

fn name(number: usize) -> String {
    format!("fleet-{number:04}")
}

/// All connect at the same moment, with sessions that stay. Gives them in their order, and whether their sessions were there.
async fn all_at_once(
    broker: &Broker,
    fleet: &[Arc<jitp_certs::Issued>],
) -> anyhow::Result<Vec<(Wire, bool)>> {
    let mut under_way = JoinSet::new();
    for (number, who) in fleet.iter().enumerate() {
        let config = wire::device_tls(broker, who)?;
        let address = broker.mqtt();
        under_way.spawn(async move {
            let mut wire = Wire::open_with(address, config).await?;
            wire.send(&wire::connect_persistent(&name(number))).await?;
            let answer = wire.receive().await?.context("closed without CONNACK")?;
            ensure!(answer.connack_code()? == 0, "{answer:?}");
            anyhow::Ok((number, wire, answer.body.first() == Some(&1)))
        });
    }
    let mut all = Vec::new();
    while let Some(one) = under_way.join_next().await {
        all.push(one??);
    }
    all.sort_unstable_by_key(|(number, ..)| *number);
    Ok(all.into_iter().map(|(_, wire, present)| (wire, present)).collect())
}

/// Publishes with QoS 1, some at a time, until all are acknowledged. `header`: with RETAIN or without.
async fn publish_all(sender: &mut Wire, header: u8, messages: &[(String, String)]) -> anyhow::Result<()> {
    for some in messages.chunks(WINDOW) {
        let mut packets = Vec::new();
        for (id, (topic, payload)) in (1u16..).zip(some) {
            let mut packet = wire::publish(topic, payload.as_bytes(), 1, id);
            if let Some(first) = packet.first_mut() {
                *first |= header;
            }
            packets.extend(packet);
        }
        sender.send(&packets).await?;
        for _ in some {
            sender.receive_kind(4).await?.context("no PUBACK")?;
        }
    }
    Ok(())
}

/// Payload of the next message, acknowledged.
async fn take(wire: &mut Wire) -> anyhow::Result<String> {
    let frame = wire.receive_kind(3).await?.context("closed")?;
    let (length, rest) = frame.body.split_first_chunk::<2>().context("too short")?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*length))..).context("too short")?;
    let (id, payload) = rest.split_first_chunk::<2>().context("too short")?;
    wire.send(&wire::puback(u16::from_be_bytes(*id))).await?;
    Ok(String::from_utf8_lossy(payload).into_owned())
}

#[tokio::test]
async fn a_fleet_that_is_cut_off_and_comes_back_after_a_kill_has_lost_nothing() -> anyhow::Result<()> {
    let mut plant = Plant::unhurried()?;
    let fleet: Vec<_> = plant.staff.devices("fleet", FLEET)?.into_iter().map(Arc::new).collect();
    let mut devices = all_at_once(&plant.broker, &fleet).await?;
    for (number, (device, present)) in devices.iter_mut().enumerate() {
        ensure!(!*present, "{number} has a session already");
        device.send(&wire::subscribe(&format!("to/{}", name(number)), 1, 1)).await?;
        device.receive_kind(9).await?.context("closed without SUBACK")?;
    }
    let commander = plant.staff.device("commander")?;
    let (mut sender, _) = Wire::connect(&plant.broker, &commander, "commander").await?;
    let commands = |text: &str| -> Vec<(String, String)> {
        (0..FLEET).map(|number| (format!("to/{}", name(number)), format!("{text} {number}"))).collect()
    };
    // To half of them before they are cut off, which they do not acknowledge, and to all after it.
    publish_all(&mut sender, 0, &commands("before")).await?;
    drop(devices);
    publish_all(&mut sender, 0, &commands("after")).await?;
    plant.broker.kill()?;
    let plant = plant.restart()?;
    let devices = all_at_once(&plant.broker, &fleet).await?;
    for (number, (mut device, present)) in devices.into_iter().enumerate() {
        ensure!(present, "the session of {number} is gone");
        let got = [take(&mut device).await?, take(&mut device).await?];
        assert_eq!(got, [format!("before {number}"), format!("after {number}")]);
    }
    Ok(())
}

#[tokio::test]
async fn a_start_over_many_sessions_and_retained_messages_has_all_of_them() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    let who = plant.staff.device("writer")?;
    let (mut writer, _) = Wire::connect(&plant.broker, &who, "writer").await?;
    let states: Vec<(String, String)> =
        (0..RETAINED).map(|number| (format!("state/{}/{number}", number % 7), number.to_string())).collect();
    publish_all(&mut writer, 1, &states).await?;
    // One certificate, many client ids.
    let config = wire::device_tls(&plant.broker, &who)?;
    for number in 0..SESSIONS {
        let mut device = Wire::open_with(plant.broker.mqtt(), config.clone()).await?;
        device.send(&wire::connect_persistent(&name(number))).await?;
        device.receive_kind(2).await?.context("closed without CONNACK")?;
        device.send(&wire::subscribe("news", 1, 1)).await?;
        device.receive_kind(9).await?.context("closed without SUBACK")?;
    }
    publish_all(&mut writer, 0, &[("news".to_owned(), "n".repeat(2000))]).await?;
    // An orderly end, and a kill.
    for kill in [false, true] {
        match kill {
            true => plant.broker.kill()?,
            false => drop(plant.broker.terminate()?),
        }
        plant = plant.restart()?;
        let (mut reader, _) = Wire::connect(&plant.broker, &who, "reader").await?;
        reader.send(&wire::subscribe("state/#", 1, 1)).await?;
        let mut came = BTreeSet::new();
        while came.len() < RETAINED {
            came.insert(take(&mut reader).await?.parse::<usize>()?);
        }
        ensure!(came.into_iter().eq(0..RETAINED), "some others came");
    }
    let config = wire::device_tls(&plant.broker, &who)?;
    for number in 0..SESSIONS {
        let mut device = Wire::open_with(plant.broker.mqtt(), config.clone()).await?;
        device.send(&wire::connect_persistent(&name(number))).await?;
        let answer = device.receive_kind(2).await?.context("closed without CONNACK")?;
        ensure!(answer.body.first() == Some(&1), "the session of {number} is gone");
        assert_eq!(take(&mut device).await?.len(), 2000);
    }
    Ok(())
}

//! Last wills when the broker goes away: each is published once when it is due, if its client has not come back and its policy still
//! allows it.
use anyhow::Context;
use jitp_certs::Issued;
use jitp_tests::Plant;
use jitp_tests::mqtt::{Client, Connect, Property, Publish, Will};
use serde_json::json;

/// Longer than any test.
const LONG: u32 = 3600;

/// A client whose session outlives its connection, with a will on `wills/<client id>`.
async fn mortal(plant: &Plant, who: &Issued, name: &str, delay: u32) -> anyhow::Result<Client> {
    let will = Will { retain: true, ..Will::new(&format!("wills/{name}"), name) };
    let will = will.with(Property::WillDelay(delay)).with(Property::user("why", "lost"));
    connect(plant, who, &persistent(name).will(will)).await
}

fn persistent(name: &str) -> Connect {
    Connect { clean: false, ..Connect::v5(name).with(Property::SessionExpiry(LONG)) }
}

async fn connect(plant: &Plant, who: &Issued, connect: &Connect) -> anyhow::Result<Client> {
    let (client, connack) = Client::try_connect(&plant.broker, who, connect).await?;
    anyhow::ensure!(connack.connack_code()? == 0, "{connack:?}");
    Ok(client)
}

/// Adds the wills that come to the watcher before a message that is published now, and has not been before.
async fn until(
    plant: &Plant,
    watcher: &mut Client,
    teller: &Issued,
    now: &str,
    came: &mut Vec<Publish>,
) -> anyhow::Result<()> {
    let mut teller = connect(plant, teller, &Connect::v5("teller")).await?;
    teller.publish(Publish::new("now", now, 1)).await?;
    loop {
        let message = watcher.message().await?;
        if message.topic == "now" && message.text() == now {
            return Ok(());
        }
        take(came, message);
    }
}

/// What comes again as its acknowledgement was not stored before a kill counts once. It may also come for the first time to this
/// watcher, which had not read it yet.
fn take(came: &mut Vec<Publish>, message: Publish) {
    let is_known = message.dup && came.iter().any(|other| other.topic == message.topic);
    if message.topic != "now" && !is_known {
        came.push(message);
    }
}

fn topics(messages: &[Publish]) -> Vec<&str> {
    let mut topics: Vec<&str> = messages.iter().map(|message| message.topic.as_str()).collect();
    topics.sort_unstable();
    topics
}

#[tokio::test]
async fn wills_are_published_once_over_kills_and_not_if_the_client_is_back_in_time() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    let (teller, watching) = (plant.staff.device("teller")?, plant.staff.device("watcher")?);
    let names = ["connected", "broken", "delayed", "back", "leaves"];
    let who = names.map(|name| plant.staff.device(name));
    let [connected, broken, delayed, back, leaves] = who;
    let (connected, broken, delayed, back, leaves) = (connected?, broken?, delayed?, back?, leaves?);
    let mut watcher = connect(&plant, &watching, &persistent("watcher")).await?;
    watcher.subscribe("wills/#", 1).await?;
    watcher.subscribe("now", 1).await?;
    let _connected = mortal(&plant, &connected, "connected", 0).await?;
    let _delayed = mortal(&plant, &delayed, "delayed", 2).await?;
    let _back = mortal(&plant, &back, "back", LONG).await?;
    drop(mortal(&plant, &broken, "broken", 2).await?);
    mortal(&plant, &leaves, "leaves", 0).await?.disconnect().await?;
    // What is told of a publish that is acknowledged was recorded before: that the client has left among it.
    let mut came = Vec::new();
    until(&plant, &mut watcher, &teller, "before", &mut came).await?;

    plant.broker.kill()?;
    let mut plant = plant.restart()?;
    let mut returned = connect(&plant, &back, &persistent("back")).await?;
    let mut watcher = connect(&plant, &watching, &persistent("watcher")).await?;
    while came.len() < 3 {
        take(&mut came, watcher.message().await?);
    }
    assert_eq!(topics(&came), ["wills/broken", "wills/connected", "wills/delayed"]);
    for will in &came {
        assert_eq!((will.qos, format!("wills/{}", will.text())), (1, will.topic.clone()));
        assert_eq!(will.properties, [Property::user("why", "lost")]);
    }
    returned.nothing().await?;
    until(&plant, &mut watcher, &teller, "between", &mut came).await?;
    assert_eq!(came.len(), 3, "{came:?}");
    drop(returned);

    plant.broker.kill()?;
    let plant = plant.restart()?;
    let mut watcher = connect(&plant, &watching, &persistent("watcher")).await?;
    until(&plant, &mut watcher, &teller, "after", &mut came).await?;
    assert_eq!(came.len(), 3, "once: {came:?}");
    let mut late = connect(&plant, &teller, &Connect::v5("late")).await?;
    late.subscribe("wills/+", 1).await?;
    let mut kept = Vec::new();
    while kept.len() < 3 {
        kept.push(late.message().await?);
    }
    assert_eq!(topics(&kept), ["wills/broken", "wills/connected", "wills/delayed"]);
    assert!(kept.iter().all(|will| will.retain));
    Ok(())
}

#[tokio::test]
async fn a_will_is_published_after_a_restart_only_if_its_certificate_and_policy_then_allow_it()
-> anyhow::Result<()> {
    let plant = Plant::new()?;
    let (teller, watching) = (plant.staff.device("teller")?, plant.staff.device("watcher")?);
    let mut watcher = connect(&plant, &watching, &persistent("watcher")).await?;
    watcher.subscribe("wills/#", 1).await?;
    watcher.subscribe("now", 1).await?;
    let names = ["allowed", "inactive", "prevented"];
    let mut mortals = Vec::new();
    for name in names {
        let who = plant.staff.device(name)?;
        drop(mortal(&plant, &who, name, LONG).await?);
        mortals.push(who);
    }
    // In order, and then not.
    let mut plant = plant;
    anyhow::ensure!(plant.broker.terminate()? == Some(0));
    let mut plant = plant.restart()?;
    plant.broker.kill()?;
    let plant = plant.restart()?;
    let api = plant.broker.api()?;
    let inactive = mortals.get(1).context("no certificate")?.certificate.id();
    api.put(&format!("/certificates/{inactive}?newStatus=INACTIVE"), &json!({})).await?;
    for name in names {
        // The session ends, and with it the delay.
        let how = format!("/connections/{name}?cleanSession=true&preventWillMessage={}", name == "prevented");
        api.delete(&how).await?;
    }
    let mut watcher = connect(&plant, &watching, &persistent("watcher")).await?;
    let mut came = Vec::new();
    until(&plant, &mut watcher, &teller, "now", &mut came).await?;
    while came.is_empty() {
        // Whether it is allowed is asked beside everything else.
        take(&mut came, watcher.message().await?);
    }
    assert_eq!(topics(&came), ["wills/allowed"]);
    Ok(())
}

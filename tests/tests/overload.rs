//! More come than can be served: whoever would wait in vain is sent away at once, and who is connected does not notice.
use anyhow::{Context, ensure};
use jitp_tests::{BrokerOptions, PATIENCE, Plant, Wire, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The beginning of a TLS record: a client that begins its handshake and does not go on.
const BEGUN: [u8; 5] = [0x16, 3, 1, 2, 0];

async fn begins(plant: &Plant) -> anyhow::Result<TcpStream> {
    let mut tcp = TcpStream::connect(plant.broker.mqtt()).await?;
    let _ = tcp.write_all(&BEGUN).await;
    Ok(tcp)
}

async fn refused(plant: &Plant, reason: &str) -> anyhow::Result<f64> {
    let reason = format!("reason=\"{reason}\"");
    plant.broker.api()?.metric("jitp_connections_refused_total", &[&reason]).await
}

#[tokio::test]
async fn who_would_wait_in_vain_for_a_handshake_is_sent_away_at_once() -> anyhow::Result<()> {
    let config =
        "[broker]\nmax_handshakes = 1\nmax_waiting_handshakes = 2\nhandshake_deadline_seconds = 600\n";
    let plant = Plant::with(BrokerOptions::config(config))?;
    let (mut bystander, answer) =
        Wire::connect(&plant.broker, &*plant.factory.device("bystander")?, "bystander").await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");

    let mut clients = JoinSet::new();
    for _ in 0..10 {
        let mut tcp = begins(&plant).await?;
        clients.spawn(async move {
            // A reset is as good as an orderly end.
            let _ = tcp.read(&mut [0]).await;
        });
    }
    // One is being served, two wait; nobody gets further.
    for _ in 0..7 {
        let closed = tokio::time::timeout(PATIENCE, clients.join_next()).await;
        closed.context("nobody is sent away")?.context("nobody is left")??;
    }
    assert_eq!(refused(&plant, "waiting_handshakes").await?, 7.0);
    ensure!(bystander.publishes("devices/bystander/x", b"here").await?, "the bystander was disconnected");
    plant.broker.wait_for_log("who was sent away", |log| log.contains("wait for their TLS handshake"))?;

    clients.shutdown().await;
    let who = plant.factory.device("later")?;
    eventually("a device gets in when the line is gone", || async {
        let Ok((_, answer)) = Wire::connect(&plant.broker, &who, "later").await else { return Ok(None) };
        Ok((answer.connack_code()? == 0).then_some(()))
    })
    .await
}

#[tokio::test]
async fn above_the_limit_of_connections_they_are_closed_and_counted() -> anyhow::Result<()> {
    let plant = Plant::with(BrokerOptions::config("[broker]\nmax_connections = 2\n"))?;
    let mut held = Vec::new();
    for name in ["one", "two"] {
        let (wire, answer) = Wire::connect(&plant.broker, &*plant.factory.device(name)?, name).await?;
        ensure!(answer.connack_code()? == 0, "{answer:?}");
        held.push(wire);
    }
    let mut tcp = begins(&plant).await?;
    let _ = tokio::time::timeout(PATIENCE, tcp.read(&mut [0])).await.context("it is not closed")?;
    assert_eq!(refused(&plant, "connections").await?, 1.0);
    for wire in &mut held {
        wire.ping().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_what_is_beyond_it_is_refused_in_order() -> anyhow::Result<()> {
    let options = BrokerOptions {
        open_files: Some((64, 200)),
        ..BrokerOptions::config("[broker]\nmax_handshakes = 1\nhandshake_deadline_seconds = 600\n")
    };
    let plant = Plant::with(options)?;
    plant.broker.wait_for_log("how many may connect", |log| {
        log.contains("the limit of open files (200) allows 100 connections at the same time")
    })?;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(begins(&plant).await?);
    }
    for number in 1..=3 {
        let mut tcp = begins(&plant).await?;
        let _ = tokio::time::timeout(PATIENCE, tcp.read(&mut [0])).await.context("it is not closed")?;
        assert_eq!(refused(&plant, "connections").await?, f64::from(number));
    }
    held.clear();
    let who = plant.factory.device("later")?;
    eventually("a device gets in when there is room again", || async {
        let Ok((_, answer)) = Wire::connect(&plant.broker, &who, "later").await else { return Ok(None) };
        Ok((answer.connack_code()? == 0).then_some(()))
    })
    .await
}

//! Leaves sessions and retained messages in a data directory, for a broker that starts there.
use super::fleet::{Fleet, on_lanes, topic};
use crate::arguments::Leave;
use jitp_broker::message::{Message, QoS};

/// Commands that wait in each tenth session.
const QUEUED: u32 = 3;
/// Of a retained message: a small JSON document.
const PAYLOAD: &str = r#"{"temperature":21.5,"humidity":48,"firmware":"4.2.1","battery":97,"uptime":123456}"#;

/// Devices connect, subscribe and report their state with RETAIN; some commands find them away. Then an orderly end, or none.
pub async fn run(asked: Leave) -> anyhow::Result<()> {
    let (fleet, provisioner) = Fleet::durable(&asked.data_dir).await?;
    let (sessions, retained) = (asked.sessions, asked.retained);
    let present = fleet.arrive((0..sessions).collect()).await?;
    let publishing = fleet.clone();
    on_lanes((0..retained).collect(), move |number| {
        let fleet = publishing.clone();
        async move {
            let topic = format!("fleet/{:07}/state/{}", number % sessions.max(1), number / sessions.max(1));
            let mut message = Message::new(topic, PAYLOAD, QoS::AtLeastOnce);
            message.retain = true;
            let published = fleet.backend.publish(message)?;
            Ok(fleet.backend.stored(published).await?)
        }
    })
    .await?;
    let (away, present): (Vec<_>, Vec<_>) = present.into_iter().partition(|(device, _)| device % 10 == 0);
    drop(away);
    let commanding = fleet.clone();
    on_lanes((0..sessions).step_by(10).collect(), move |device| {
        let fleet = commanding.clone();
        async move {
            for number in 0..QUEUED {
                let message = Message::new(topic(device), number.to_string(), QoS::AtLeastOnce);
                let published = fleet.backend.publish(message)?;
                fleet.backend.stored(published).await?;
            }
            Ok(())
        }
    })
    .await?;
    fleet.backend.settled().await;
    if asked.kill {
        // Neither the sessions nor the registry are closed.
        std::process::exit(0);
    }
    drop(present);
    fleet.backend.settled().await;
    drop(fleet);
    Ok(provisioner.close().await?)
}

//! Devices that the broker has never seen.
//!
//! jitp provisions each before its CONNACK: thing, certificate, attachment, the shared inline policy, all durable. Its
//! peers verify the certificate and forget it.
use super::connecting::{Once, measure};
use super::lanes::AT_A_TIME;
use crate::comparison::CONNECTIONS;
use crate::lab::Lab;
use crate::peers::{Jitp, Kind, Peer};
use crate::report::{Case, Report, progress};
use anyhow::ensure;
use std::sync::Arc;

/// Devices made for each second of a round: more than this machine's two cores can shake hands with.
const DEVICES_PER_SECOND: u64 = 4000;
/// Devices looked for in the registry after the broker was killed.
const SAMPLES: usize = 20;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let time = lab.options.window();
    let count = usize::try_from(lab.options.seconds * DEVICES_PER_SECOND)?;
    let jitp = lab.options.peers.contains(&Kind::Jitp).then(|| Jitp::new(lab)).transpose()?;
    let mut peers = Vec::new();
    for kind in &lab.options.peers {
        peers.push(match (kind, &jitp) {
            (Kind::Jitp, Some(jitp)) => jitp.start(lab)?,
            _ => Peer::start(lab, *kind).await?,
        });
    }
    let mut case = Case::new("first-connect", format!("{AT_A_TIME} at a time"), "connections/s");
    let mut provisioned = Vec::new();
    for round in 0..lab.options.rounds {
        progress(&format!("first-connect, round {}: making {count} certificates", round + 1));
        let devices = Arc::new(lab.factory.devices(&format!("first-{round}"), count)?);
        for peer in &peers {
            let connections = measure(peer, round, Arc::new(Once(devices.clone())), time).await?;
            if peer.kind == Kind::Jitp {
                let done = usize::try_from(connections.round.operations)?;
                provisioned.extend(devices.iter().take(done).map(|device| device.name.clone()));
            }
            case.rounds.push(connections.round);
        }
    }
    drop(peers);
    if let Some(jitp) = &jitp {
        case.notes.push(verify(lab, jitp, &provisioned)?);
    }
    case.compare_with_peers(CONNECTIONS);
    case.compare(Kind::Ceiling, Some(0.6));
    report.add(case)
}

/// The broker was killed, not stopped: whoever got a CONNACK must be in the registry.
fn verify(lab: &Lab, jitp: &Jitp, provisioned: &[String]) -> anyhow::Result<String> {
    let (peer, api, _) = jitp.open(lab)?;
    let step = (provisioned.len() / SAMPLES).max(1);
    let mut looked_at = 0;
    for name in provisioned.iter().step_by(step).chain(provisioned.last()) {
        ensure!(jitp.knows(&api, name)?, "{name} got a CONNACK but is not in the registry");
        looked_at += 1;
    }
    peer.process.terminate()?;
    let all = provisioned.len();
    Ok(format!(
        "{all} devices provisioned; after kill -9, {looked_at} of {looked_at} looked for were in the registry"
    ))
}

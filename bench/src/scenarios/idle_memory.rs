//! Memory of an idle connection: TLS, MQTT session, no subscription.
use super::connecting::{connect_all, introduce};
use crate::comparison::MEMORY;
use crate::lab::Lab;
use crate::peers::{Jitp, Kind, Peer};
use crate::process::resident_bytes;
use crate::report::{Case, Report, Round, progress};
use anyhow::ensure;
use std::sync::Arc;
use std::time::Duration;

/// Connections that come and go before memory is first looked at, so that what is allocated once is not counted.
const WARM_UP: usize = 128;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let count = usize::try_from(lab.options.connections)?;
    let devices = Arc::new(lab.factory.devices("idle", count)?);
    let warm_up = Arc::new(lab.factory.devices("warmup", WARM_UP)?);
    let mut case = Case::new("idle-memory", format!("{count} connections"), "bytes/connection");
    for kind in &lab.options.peers {
        progress(&format!("idle-memory: {kind}"));
        let jitp = (*kind == Kind::Jitp).then(|| Jitp::new(lab)).transpose()?;
        if let Some(jitp) = &jitp {
            let peer = jitp.start(lab)?;
            introduce(&peer, &devices).await?;
            introduce(&peer, &warm_up).await?;
            peer.process.terminate()?;
        }
        for round in 0..lab.options.rounds {
            let peer = match &jitp {
                Some(jitp) => jitp.open(lab)?.0,
                None => Peer::start(lab, *kind).await?,
            };
            introduce(&peer, &warm_up).await?;
            let before = settled(&peer).await?;
            let held = connect_all(&peer, &devices).await?;
            ensure!(held.len() == count, "{kind}: only {} of {count} are connected", held.len());
            let after = settled(&peer).await?;
            // The server first: it has nothing to say about connections that are dropped.
            drop(peer);
            case.rounds.push(Round {
                peer: *kind,
                round,
                value: after.saturating_sub(before) as f64 / count as f64,
                operations: count as u64,
                usage: None,
                p50_micros: None,
                p99_micros: None,
                p999_micros: None,
                failures: 0,
            });
        }
    }
    case.compare_with_peers(MEMORY);
    report.add(case)
}

/// Memory once it no longer changes by more than a percent within half a second; at most for five seconds.
pub(super) async fn settled(peer: &Peer) -> anyhow::Result<u64> {
    let mut last = resident_bytes(peer.pid())?;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = resident_bytes(peer.pid())?;
        let still = now.abs_diff(last) * 100 <= last;
        last = now;
        if still {
            break;
        }
    }
    Ok(last)
}

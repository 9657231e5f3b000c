//! Devices that the broker knows: full handshakes, and resumed ones.
use super::connecting::{Visitors, introduce, measure};
use super::lanes::AT_A_TIME;
use crate::client::Target;
use crate::comparison::CONNECTIONS;
use crate::factory::Device;
use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::report::{Absence, Case, Report, progress};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;

/// A round counts as resumed if at least this share of its handshakes was.
const RESUMED: f64 = 0.98;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let time = lab.options.window();
    let devices = Arc::new(lab.factory.devices("warm", lab.options.known())?);
    let mut groups = Vec::new();
    for kind in &lab.options.peers {
        progress(&format!("warm-connect: introducing {} devices to {kind}", devices.len()));
        let peer = Peer::start(lab, *kind).await?;
        introduce(&peer, &devices).await?;
        let resuming = devices.iter().map(|device| peer.target.resuming(device)).collect();
        let resuming = Arc::new(Returning { devices: devices.clone(), settings: resuming });
        let full = devices.iter().map(|device| peer.target.full(device)).collect();
        let full = Arc::new(Returning { devices: devices.clone(), settings: full });
        groups.push((peer, full, Some(resuming)));
    }
    let mut full_case =
        Case::new("warm-connect", format!("full handshake, {AT_A_TIME} at a time"), "connections/s");
    let mut case =
        Case::new("warm-connect", format!("resumed handshake, {AT_A_TIME} at a time"), "connections/s");
    for round in 0..lab.options.rounds {
        for (peer, full, resuming) in &mut groups {
            full_case.rounds.push(measure(peer, round, full.clone(), time).await?.round);
            let Some(visitors) = resuming else { continue };
            match resumed(peer, round, visitors, time).await {
                Ok(round) => case.rounds.push(round),
                Err(reason) => {
                    let reason = format!("it does not resume sessions: {reason:#}");
                    case.absences.push(Absence { peer: peer.kind, reason });
                    *resuming = None;
                }
            }
        }
    }
    full_case.compare_with_peers(CONNECTIONS);
    full_case.compare(Kind::Ceiling, Some(0.8));
    case.compare_with_peers(CONNECTIONS);
    case.compare(Kind::Ceiling, None);
    case.compare_with_case(Kind::Ceiling, &full_case, Some(1.0));
    report.add(full_case)?;
    report.add(case)
}

/// One round with sessions; an error if they are not resumed.
async fn resumed(
    peer: &Peer,
    round: u32,
    visitors: &Arc<Returning>,
    time: Duration,
) -> anyhow::Result<crate::report::Round> {
    if round == 0 {
        let first = Arc::new(FirstVisits(visitors.clone()));
        measure(peer, round, first, Duration::from_secs(60)).await?;
    }
    let connections = measure(peer, round, visitors.clone(), time).await?;
    let share = connections.resumed as f64 / connections.round.operations as f64;
    anyhow::ensure!(share >= RESUMED, "only {:.1} % of the handshakes were abbreviated", share * 100.0);
    Ok(connections.round)
}

/// The same devices, again and again.
struct Returning {
    devices: Arc<Vec<Device>>,
    settings: Vec<Arc<ClientConfig>>,
}

/// Each of them once: to get a session.
struct FirstVisits(Arc<Returning>);

impl Visitors for Returning {
    fn visitor(&self, number: usize, _target: &Target) -> Option<(&Device, Arc<ClientConfig>)> {
        let index = number % self.devices.len();
        Some((self.devices.get(index)?, self.settings.get(index)?.clone()))
    }
}

impl Visitors for FirstVisits {
    fn visitor(&self, number: usize, target: &Target) -> Option<(&Device, Arc<ClientConfig>)> {
        if number < self.0.devices.len() { self.0.visitor(number, target) } else { None }
    }
}

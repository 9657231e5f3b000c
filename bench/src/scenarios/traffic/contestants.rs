//! The servers of a scenario, started once, and measured in turn.
use super::load::at_full_speed;
use super::paced::{Lateness, Paced, at_rate};
use super::{Shape, Topics};
use crate::comparison::Aim;
use crate::factory::Device;
use crate::lab::Lab;
use crate::peers::{Kind, Peer};
use crate::report::{Absence, Case, Report, progress};

/// Servers, and the devices that talk to them.
pub struct Contestants<'a> {
    lab: &'a Lab,
    peers: Vec<Peer>,
    devices: Vec<Device>,
}

impl<'a> Contestants<'a> {
    /// Starts those that were asked for and that `takes_part` lets in.
    pub async fn start(lab: &'a Lab, takes_part: impl Fn(Kind) -> bool) -> anyhow::Result<Self> {
        let devices = lab.factory.devices("flow", 2 * lab.options.many())?;
        let mut peers = Vec::new();
        for kind in &lab.options.peers {
            let both: &[Kind] = match kind {
                Kind::Mosquitto => &[Kind::Mosquitto, Kind::MosquittoNagle],
                other => &[*other],
            };
            for kind in both.iter().filter(|kind| takes_part(**kind)) {
                peers.push(Peer::start(lab, *kind).await?);
            }
        }
        Ok(Self { lab, peers, devices })
    }

    /// One to one, one to many, many to one.
    pub fn patterns(lab: &Lab) -> [Topics; 3] {
        let many = lab.options.many();
        [(1, 1), (1, many), (many, 1)]
            .map(|(publishers, subscribers)| Topics::Shared { publishers, subscribers })
    }

    /// Deliveries per second of each shape, a case each.
    pub async fn rates(
        &mut self,
        report: &mut Report,
        scenario: &'static str,
        shapes: &[Shape],
        aim: Aim,
    ) -> anyhow::Result<()> {
        for shape in shapes {
            let mut case = Case::new(scenario, shape.name(), "deliveries/s");
            progress(&format!("{scenario}: {}", case.variant));
            for round in 0..self.lab.options.rounds {
                self.round(&mut case, round, shape).await?;
            }
            case.compare_with_peers(aim);
            case.compare(Kind::Ceiling, None);
            report.add(case)?;
        }
        Ok(())
    }

    /// One round of deliveries per second of everybody.
    pub async fn round(&mut self, case: &mut Case, round: u32, shape: &Shape) -> anyhow::Result<()> {
        for place in 0..self.peers.len() {
            let Some(peer) = self.peers.get(place).filter(|peer| !case.lacks(peer.kind)) else { continue };
            match at_full_speed(peer, round, shape, &self.devices, &self.lab.options).await {
                Ok(measured) => case.rounds.push(measured),
                Err(error) => self.drops_out(place, case, error).await?,
            }
        }
        Ok(())
    }

    /// One round of latencies of everybody at so many messages per second, and how late the generator was.
    pub async fn paced_round(
        &mut self,
        case: &mut Case,
        round: u32,
        shape: &Shape,
        rate: f64,
    ) -> anyhow::Result<Vec<Lateness>> {
        let mut all = Vec::new();
        for place in 0..self.peers.len() {
            let Some(peer) = self.peers.get(place).filter(|peer| !case.lacks(peer.kind)) else { continue };
            match at_rate(peer, round, shape, &self.devices, &self.lab.options, rate).await {
                Ok(Paced { round, late }) => {
                    case.rounds.push(round);
                    all.push(late);
                }
                Err(error) => self.drops_out(place, case, error).await?,
            }
        }
        Ok(all)
    }

    /// Another broker that cannot do this is left out of the case, which says so, and started anew for the next one.
    async fn drops_out(&mut self, place: usize, case: &mut Case, error: anyhow::Error) -> anyhow::Result<()> {
        let Some(peer) = self.peers.get_mut(place) else { return Err(error) };
        if !peer.kind.is_other_broker() {
            return Err(error.context(format!("{}, {}", peer.kind, case.variant)));
        }
        let kind = peer.kind;
        case.rounds.retain(|round| round.peer != kind);
        case.absences.push(Absence { peer: kind, reason: format!("{error:#}") });
        *peer = Peer::start(self.lab, kind).await?;
        Ok(())
    }
}

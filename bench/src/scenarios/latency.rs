//! How long messages take at half of the peak, from the time at which each was due (an open loop).
//!
//! Twice: all servers at one rate, half of what the best of the other brokers can do, and each at half of what it can do
//! itself.
use super::traffic::{Contestants, Shape, Topics};
use crate::comparison::LATENCY;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Case, Report, progress};

const SHARE: f64 = 0.5;
/// Messages per second, so that there are some in the shortest window.
const SLOWEST: f64 = 100.0;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let many = lab.options.many();
    let many_to_one = Topics::Shared { publishers: many, subscribers: 1 };
    let shapes = [
        Shape::streamed(many_to_one, 0),
        Shape::streamed(many_to_one, 1),
        Shape::streamed(Topics::Own(many), 1),
    ];
    let mut contestants = Contestants::start(lab, |_| true).await?;
    for shape in &shapes {
        measure(lab, report, &mut contestants, shape).await?;
    }
    Ok(())
}

async fn measure(
    lab: &Lab,
    report: &mut Report,
    contestants: &mut Contestants<'_>,
    shape: &Shape,
) -> anyhow::Result<()> {
    let mut peaks = Case::new("latency", format!("{}: peak", shape.name()), "deliveries/s");
    progress(&format!("latency: {}", peaks.variant));
    contestants.round(&mut peaks, 0, shape).await?;
    let half = |kind| peaks.values(kind).first().map(|peak| (SHARE * peak).floor().max(SLOWEST));
    let best = |who: fn(Kind) -> bool| {
        Kind::ALL.into_iter().filter(|kind| who(*kind)).filter_map(half).max_by(f64::total_cmp)
    };
    let Some(common) = best(Kind::is_other_broker).or_else(|| best(|_| true)) else { return Ok(()) };
    let case = |at: String| Case::new("latency", format!("{}, {at}", shape.name()), "p99 ms");
    let mut alike = case(format!("{common} per second"));
    let mut own = case("half of its own peak".to_owned());
    let (mut late_alike, mut late_own) = (0, 0);
    for round in 0..lab.options.rounds {
        progress(&format!("latency: {}, round {}", alike.variant, round + 1));
        late_alike =
            contestants.paced_round(&mut alike, round, shape, |_| Some(common)).await?.max(late_alike);
        late_own = contestants.paced_round(&mut own, round, shape, half).await?.max(late_own);
    }
    alike.notes.push("half of what the best of the other brokers can do, for all".to_owned());
    for (kind, rate) in Kind::ALL.into_iter().filter_map(|kind| Some((kind, half(kind)?))) {
        own.notes.push(format!("{kind}: {rate} per second"));
    }
    for (case, late) in [(&mut alike, late_alike), (&mut own, late_own)] {
        case.notes.push(format!("99 % were handed to their publishers within {late} µs of their time"));
    }
    alike.compare_with_peers(LATENCY);
    report.add(peaks)?;
    report.add(alike)?;
    report.add(own)
}

//! How long messages take at half of the peak, from the time at which each was due (an open loop).
//!
//! Three times: all servers at one rate, half of what the best of the other brokers can do; all at a tenth of it; and each at half
//! of what it can do itself. As each message is written and read by itself, half of a peak may leave no processor idle; a tenth
//! leaves some.
use super::traffic::{Contestants, Shape, Topics};
use crate::comparison::LATENCY;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Case, Report, progress};

const SHARE: f64 = 0.5;
const SMALL_SHARE: f64 = 0.1;
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

/// How many messages per second each server gets.
type Rates<'a> = &'a dyn Fn(Kind) -> Option<f64>;

async fn measure(
    lab: &Lab,
    report: &mut Report,
    contestants: &mut Contestants<'_>,
    shape: &Shape,
) -> anyhow::Result<()> {
    let mut peaks = Case::new("latency", format!("{}: peak", shape.name()), "deliveries/s");
    progress(&format!("latency: {}", peaks.variant));
    contestants.round(&mut peaks, 0, shape).await?;
    let share_of =
        |kind, share: f64| peaks.values(kind).first().map(|peak| (share * peak).floor().max(SLOWEST));
    let best = |share, who: fn(Kind) -> bool| {
        Kind::ALL
            .into_iter()
            .filter(|kind| who(*kind))
            .filter_map(|kind| share_of(kind, share))
            .max_by(f64::total_cmp)
    };
    let common = |share| best(share, Kind::is_other_broker).or_else(|| best(share, |_| true));
    let Some((half, tenth)) = common(SHARE).zip(common(SMALL_SHARE)) else { return Ok(()) };
    let own = |kind| share_of(kind, SHARE);
    let rates: [Rates<'_>; 3] = [&|_| Some(half), &|_| Some(tenth), &own];
    let names =
        [format!("{half} per second"), format!("{tenth} per second"), "half of its own peak".to_owned()];
    let own_rates =
        Kind::ALL.into_iter().filter_map(|kind| Some(format!("{kind}: {} per second", own(kind)?)));
    let notes = [
        "half of what the best of the other brokers can do, for all".to_owned(),
        "a tenth of what the best of the other brokers can do, for all".to_owned(),
        own_rates.collect::<Vec<_>>().join(", "),
    ];
    let mut cases = names.map(|rate| Case::new("latency", format!("{}, {rate}", shape.name()), "p99 ms"));
    let mut late = [0; 3];
    for round in 0..lab.options.rounds {
        for ((case, rate), late) in cases.iter_mut().zip(rates).zip(&mut late) {
            progress(&format!("latency: {}, round {}", case.variant, round + 1));
            *late = contestants.paced_round(case, round, shape, rate).await?.max(*late);
        }
    }
    for ((case, note), late) in cases.iter_mut().zip(notes).zip(late) {
        case.notes.extend([note, format!("99 % were written within {late} µs of their time")]);
    }
    let [mut alike, mut light, own] = cases;
    alike.compare_with_peers(LATENCY);
    light.compare_with_peers(LATENCY);
    for case in [peaks, alike, light, own] {
        report.add(case)?;
    }
    Ok(())
}

//! How long messages take at half, a quarter and a tenth of the peak, from the time at which each was due (an open loop).
//!
//! The peak is what the best of the other brokers can do; all servers get the same rates. As each message is written and read by
//! itself, half of a peak leaves hardly any processor time over; a tenth leaves most of it.
use super::traffic::{Contestants, Lateness, Shape, Topics};
use crate::comparison::LATENCY;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Case, Report, progress};

/// Of the peak, and in words.
const SHARES: [(f64, &str); 3] = [(0.5, "half"), (0.25, "a quarter"), (0.1, "a tenth")];
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
    let Some(peak) = best(&peaks, Kind::is_other_broker).or_else(|| best(&peaks, |_| true)) else {
        return Ok(());
    };
    report.add(peaks)?;
    let mut cases = SHARES.map(|(share, words)| {
        let rate = (share * peak).floor().max(SLOWEST);
        let mut case = Case::new("latency", format!("{}, {rate} per second", shape.name()), "p99 ms");
        case.notes.push(format!("{words} of what the best of the other brokers can do, for all"));
        (case, rate, Vec::new())
    });
    for round in 0..lab.options.rounds {
        for (case, rate, late) in &mut cases {
            progress(&format!("latency: {}, round {}", case.variant, round + 1));
            late.extend(contestants.paced_round(case, round, shape, *rate).await?);
        }
    }
    for (mut case, _, late) in cases {
        case.notes.extend(notes(&late));
        case.compare_with_peers(LATENCY);
        report.add(case)?;
    }
    Ok(())
}

/// The highest peak of some of the servers.
fn best(peaks: &Case, who: fn(Kind) -> bool) -> Option<f64> {
    let kinds = Kind::ALL.into_iter().filter(|kind| who(*kind));
    kinds.flat_map(|kind| peaks.values(kind)).max_by(f64::total_cmp)
}

/// What of the figures is the generator's: in the worst round of each server.
fn notes(late: &[Lateness]) -> Vec<String> {
    let worst = |kind| late.iter().filter(|late| late.peer == kind).map(|late| late.p99_micros).max();
    let each = Kind::ALL.into_iter().filter_map(|kind| Some(format!("{kind} {} µs", worst(kind)?)));
    let each = each.collect::<Vec<_>>().join(", ");
    let lateness = format!("the generator came to 99 % of the messages within, in the worst round: {each}");
    let caveat = "the generator could not be given priority (that takes root and chrt): its own wait for a processor counts";
    let among_others = late.iter().any(|late| !late.first).then(|| caveat.to_owned());
    std::iter::once(lateness).chain(among_others).collect()
}

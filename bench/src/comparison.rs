//! jitp beside the other brokers, and beside the better of them.
use crate::peers::Kind;
use crate::report::{Case, Comparison};
use crate::statistics::median;

/// What the project asks of itself, as a ratio to the better of the other brokers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// Of rates: so many times as much, or more.
    AtLeast(f64),
    /// Of times and sizes: so many times as long, or less.
    AtMost(f64),
}

/// More connections per second.
pub const CONNECTIONS: Aim = Aim::AtLeast(2.0);
/// More messages per second.
pub const THROUGHPUT: Aim = Aim::AtLeast(3.0);
/// The same where jitp keeps on disk what the others keep in memory.
pub const DURABLE: Aim = Aim::AtLeast(0.5);
/// The 99th percentile of a latency.
pub const LATENCY: Aim = Aim::AtMost(0.5);
/// Memory of a connection.
pub const MEMORY: Aim = Aim::AtMost(1.0);
/// What the name of the comparison with the better of the others begins with.
pub const BETTER: &str = "jitp / better peer";

impl Case {
    /// Compares jitp with every other broker that was measured, and states the aim beside the better of them.
    pub fn compare_with_peers(&mut self, aim: Aim) {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_other_broker()) {
            self.compare(kind, None);
        }
        let Some(better) = self.better_peer(aim) else { return };
        let name = format!("{BETTER} ({better})");
        let compared = Comparison::of(name, &self.values(Kind::Jitp), &self.values(better), None);
        let (target, at_most) = match aim {
            Aim::AtLeast(target) => (Some(target), None),
            Aim::AtMost(most) => (None, Some(most)),
        };
        self.comparisons.extend(compared.map(|compared| Comparison { target, at_most, ..compared }));
    }

    /// Compares how long jitp and every other broker took; nothing is asked.
    pub fn compare_latency_with_peers(&mut self) {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_other_broker()) {
            let name = format!("jitp / {kind}");
            self.comparisons.extend(Comparison::of(name, &self.values(Kind::Jitp), &self.values(kind), None));
        }
    }

    /// By its median.
    fn better_peer(&self, aim: Aim) -> Option<Kind> {
        let measured = Kind::ALL.into_iter().filter(|kind| kind.is_other_broker()).filter_map(|kind| {
            let middle = median(&self.values(kind))?;
            Some((if matches!(aim, Aim::AtLeast(_)) { middle } else { -middle }, kind))
        });
        measured.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, kind)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Round;

    fn case(values: &[(Kind, f64)]) -> Case {
        let mut case = Case::new("throughput", "QoS 0", "deliveries/s");
        case.rounds.extend(values.iter().map(|&(peer, value)| Round {
            peer,
            round: 0,
            value,
            operations: 1,
            usage: None,
            p50_micros: None,
            p99_micros: None,
            p999_micros: None,
            failures: 0,
        }));
        case
    }

    #[test]
    fn the_better_peer_has_the_higher_rate_or_the_lower_latency() {
        let values =
            [(Kind::Jitp, 60.0), (Kind::Mosquitto, 10.0), (Kind::Rumqttd, 20.0), (Kind::Ceiling, 99.0)];
        let mut rates = case(&values);
        rates.compare_with_peers(THROUGHPUT);
        let last = rates.comparisons.last().unwrap();
        assert_eq!((last.name.as_str(), last.ratio), ("jitp / better peer (rumqttd)", Some(3.0)));
        assert_eq!(last.met(), Some(true));
        let mut times = case(&values);
        times.compare_with_peers(LATENCY);
        let last = times.comparisons.last().unwrap();
        assert_eq!((last.name.as_str(), last.ratio), ("jitp / better peer (mosquitto)", Some(6.0)));
        assert_eq!(last.met(), Some(false));
    }

    #[test]
    fn without_other_brokers_there_is_nothing_to_compare() {
        let mut alone = case(&[(Kind::Jitp, 60.0), (Kind::Ceiling, 99.0)]);
        alone.compare_with_peers(THROUGHPUT);
        assert!(alone.comparisons.is_empty());
    }
}

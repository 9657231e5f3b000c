//! What a run has found: JSON with every round, and a table with medians and ratios.
use crate::peers::Kind;
use crate::statistics::{median, range};
use crate::usage::Usage;
use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Seconds since the epoch.
    pub started: u64,
    /// Processors, memory, kernel, versions.
    pub machine: Vec<String>,
    pub cases: Vec<Case>,
}

/// One load, run against each peer.
#[derive(Debug, Serialize)]
pub struct Case {
    pub scenario: &'static str,
    pub variant: String,
    pub unit: &'static str,
    /// What others allow and what the project asks of itself, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yardstick: Option<Yardstick>,
    pub rounds: Vec<Round>,
    /// Who has no number here, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absences: Vec<Absence>,
    pub comparisons: Vec<Comparison>,
    /// What else was seen, in words.
    pub notes: Vec<String>,
}

/// Rates to compare with.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Yardstick {
    /// AWS IoT Core's default quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<f64>,
    /// Ours, on eight cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
}

/// A peer without a number.
#[derive(Debug, Clone, Serialize)]
pub struct Absence {
    pub peer: Kind,
    pub reason: String,
}

/// One measurement of one peer.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub peer: Kind,
    /// 0 and up; the same number in each peer was measured one after the other.
    pub round: u32,
    /// In the unit of the case.
    pub value: f64,
    /// What was done or counted in all.
    pub operations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_micros: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_micros: Option<u32>,
    /// Connections refused or broken, messages lost.
    pub failures: u64,
}

/// How jitp shall stand to another peer: the median of the ratios within each round.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub name: String,
    /// At least this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// At most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The smallest and largest ratio of a round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
}

impl Case {
    /// A case without rounds.
    pub fn new(scenario: &'static str, variant: impl Into<String>, unit: &'static str) -> Self {
        let variant = variant.into();
        Self {
            scenario,
            variant,
            unit,
            yardstick: None,
            rounds: Vec::new(),
            absences: Vec::new(),
            comparisons: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Compares jitp with another peer, round by round, if both were measured: what was achieved, and, the other way
    /// round, what it cost the server. The second is less sensitive to what else runs on the machine.
    pub fn compare(&mut self, with: Kind, target: Option<f64>) {
        let name = format!("jitp / {with}");
        self.comparisons.extend(Comparison::of(name, &self.values(Kind::Jitp), &self.values(with), target));
        let (own, other) = (self.server_micros(Kind::Jitp), self.server_micros(with));
        let name = format!("{with} / jitp, server µs/op");
        self.comparisons.extend(Comparison::of(name, &other, &own, None));
    }

    /// Compares jitp with a peer in another case of the same rounds.
    pub fn compare_with_case(&mut self, with: Kind, other: &Case, target: Option<f64>) {
        let name = format!("jitp / {with}, {}", other.variant);
        self.comparisons.extend(Comparison::of(name, &self.values(Kind::Jitp), &other.values(with), target));
    }

    /// Compares a peer with itself in another case of the same rounds: a latency, which shall be at most so many times that of
    /// the other.
    pub fn compare_with_itself(&mut self, peer: Kind, other: &Case, at_most: Option<f64>) {
        let name = format!("{peer}, against {peer} {}", other.variant);
        let comparison = Comparison::of(name, &self.values(peer), &other.values(peer), None);
        self.comparisons.extend(comparison.map(|comparison| Comparison { at_most, ..comparison }));
    }

    /// Says something that may have been said.
    pub fn note_once(&mut self, note: &str) {
        if !self.notes.iter().any(|said| said == note) {
            self.notes.push(note.to_owned());
        }
    }

    /// This peer is known to have no number here.
    pub fn lacks(&self, peer: Kind) -> bool {
        self.absences.iter().any(|absence| absence.peer == peer)
    }

    /// Of all rounds of a peer.
    pub fn values(&self, of: Kind) -> Vec<f64> {
        self.rounds.iter().filter(|round| round.peer == of).map(|round| round.value).collect()
    }

    fn server_micros(&self, of: Kind) -> Vec<f64> {
        self.rounds.iter().filter(|round| round.peer == of).filter_map(Round::server_micros).collect()
    }

    fn table(&self) -> Table {
        let mut table = table(["peer", self.unit].into_iter().chain(FIGURES));
        for peer in Kind::ALL {
            let rounds: Vec<&Round> = self.rounds.iter().filter(|round| round.peer == peer).collect();
            if !rounds.is_empty() {
                table.add_row(std::iter::once(peer.to_string()).chain(figures(&rounds)));
            } else if self.lacks(peer) {
                table.add_row([peer.to_string(), "see below".to_owned()]);
            }
        }
        table
    }

    /// Variant, yardstick and figures: a row of the table of [`Report::add_together`].
    fn row(&self) -> Vec<String> {
        let rounds: Vec<&Round> = self.rounds.iter().collect();
        let rate = |pick: fn(Yardstick) -> Option<f64>| {
            self.yardstick.and_then(pick).map_or_else(|| "-".to_owned(), grouped)
        };
        let words =
            [self.variant.clone(), rate(|yardstick| yardstick.aws), rate(|yardstick| yardstick.target)];
        words.into_iter().chain(figures(&rounds)).collect()
    }
}

impl Round {
    /// Processor time of the server for one operation.
    fn server_micros(&self) -> Option<f64> {
        self.usage.map(|usage| usage.server_micros_per(self.operations))
    }
}

impl Comparison {
    /// Round by round; `None` if one of the two was not measured.
    pub fn of(name: String, above: &[f64], below: &[f64], target: Option<f64>) -> Option<Self> {
        let ratios: Vec<f64> = above.iter().zip(below).map(|(above, below)| above / below).collect();
        ratios.first()?;
        Some(Self { name, target, at_most: None, ratio: median(&ratios), range: range(&ratios) })
    }

    /// Is it as it shall be? `None` if nothing was asked, or nothing measured.
    pub fn met(&self) -> Option<bool> {
        match (self.ratio?, self.target, self.at_most) {
            (ratio, Some(target), _) => Some(ratio >= target),
            (ratio, None, Some(most)) => Some(ratio <= most),
            (_, None, None) => None,
        }
    }

    fn sentence(&self) -> String {
        let Some((ratio, (low, high))) = self.ratio.zip(self.range) else { return self.name.clone() };
        let bound = match (self.target, self.at_most) {
            (Some(target), _) => format!(", target {target}: "),
            (None, Some(most)) => format!(", at most {most}: "),
            (None, None) => String::new(),
        };
        let verdict = self.met().map_or(String::new(), |met| bound + if met { "met" } else { "missed" });
        format!("{} = {ratio:.2} (rounds {low:.2} to {high:.2}{verdict})", self.name)
    }
}

impl Report {
    /// Prints a case as soon as it is measured.
    pub fn add(&mut self, case: Case) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{}: {}\n{}", case.scenario, case.variant, case.table())?;
        for Absence { peer, reason } in &case.absences {
            writeln!(out, "  {peer} has no number: {reason}")?;
        }
        for line in case.comparisons.iter().map(Comparison::sentence).chain(case.notes.iter().cloned()) {
            writeln!(out, "  {line}")?;
        }
        self.cases.push(case);
        Ok(())
    }

    /// Prints jitp's cases of one scenario as one table.
    pub fn add_together(&mut self, scenario: &str, cases: Vec<Case>) -> anyhow::Result<()> {
        let mut table = table(["way", "AWS", "target", "per second"].into_iter().chain(FIGURES));
        for case in &cases {
            table.add_row(case.row());
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{scenario}\n{table}")?;
        for case in &cases {
            for note in &case.notes {
                writeln!(out, "  {}: {note}", case.variant)?;
            }
        }
        self.cases.extend(cases);
        Ok(())
    }

    /// Starts a report with what is known about this machine.
    pub fn begin(machine: Vec<String>) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or_default();
        Self { started, machine, cases: Vec::new() }
    }

    /// Writes `<started>/results.json`.
    pub fn write(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let directory = directory.join(self.started.to_string());
        let path = directory.join("results.json");
        std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::write(&path, serde_json::to_vec_pretty(self)?))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// An empty table; numbers, which all but the first columns are, stand at the right.
pub fn table(headings: impl Iterator<Item = &'static str>) -> Table {
    table_of(headings.map(str::to_owned))
}

/// The same with headings that are made.
pub fn table_of(headings: impl Iterator<Item = String>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(headings);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Says what is going on, beside the results.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says why the run ends.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "jitp-bench: {text}");
}

/// The headings of [`figures`], but for the first, which is the unit.
const FIGURES: [&str; 9] = [
    "range",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server µs/op",
    "server cores",
    "generator cores",
    "elsewhere",
    "failed",
];

fn figures(rounds: &[&Round]) -> Vec<String> {
    let middle = |pick: &dyn Fn(&Round) -> Option<f64>| {
        median(&rounds.iter().filter_map(|round| pick(round)).collect::<Vec<_>>())
    };
    let shown = |value: Option<f64>, digits: usize| value.map_or(String::new(), |v| format!("{v:.digits$}"));
    let values: Vec<f64> = rounds.iter().map(|round| round.value).collect();
    let (low, high) = range(&values).unwrap_or_default();
    vec![
        grouped(median(&values).unwrap_or_default()),
        format!("{} to {}", grouped(low), grouped(high)),
        shown(middle(&|round| round.p50_micros.map(|micros| f64::from(micros) / 1000.0)), 2),
        shown(middle(&|round| round.p99_micros.map(|micros| f64::from(micros) / 1000.0)), 2),
        shown(middle(&|round| round.p999_micros.map(|micros| f64::from(micros) / 1000.0)), 2),
        shown(middle(&Round::server_micros), 2),
        shown(middle(&|round| round.usage.map(|usage| usage.server_cores)), 2),
        shown(middle(&|round| round.usage.map(|usage| usage.generator_cores)), 2),
        shown(middle(&|round| round.usage.map(|usage| usage.elsewhere_cores)), 2),
        rounds.iter().map(|round| round.failures).sum::<u64>().to_string(),
    ]
}

/// A whole number with commas; with one decimal below 100.
pub fn grouped(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(rounds: &[(Kind, f64)]) -> Case {
        let mut case = Case::new("first-connect", "64 at a time", "connections/s");
        case.rounds = rounds
            .iter()
            .map(|&(peer, value)| Round {
                peer,
                round: 0,
                value,
                operations: 10,
                usage: None,
                p50_micros: None,
                p99_micros: None,
                p999_micros: None,
                failures: 0,
            })
            .collect();
        case
    }

    #[test]
    fn a_comparison_is_the_median_of_the_ratios_within_each_round() {
        let (j, m) = (Kind::Jitp, Kind::Mosquitto);
        let mut case = case(&[(j, 20.0), (m, 10.0), (j, 30.0), (m, 10.0), (j, 5.0), (m, 2.0)]);
        case.compare(m, Some(2.0));
        case.compare(Kind::Ceiling, Some(0.8));
        let [only] = case.comparisons.as_slice() else { panic!("{:?}", case.comparisons) };
        assert_eq!((only.ratio, only.range), (Some(2.5), Some((2.0, 3.0))));
        assert_eq!(only.sentence(), "jitp / mosquitto = 2.50 (rounds 2.00 to 3.00, target 2: met)");
    }

    #[test]
    fn a_latency_is_compared_with_that_of_the_same_peer_and_may_be_at_most_so_many_times_as_long() {
        let (alone, mut case) =
            (case(&[(Kind::Jitp, 2.0)]), case(&[(Kind::Jitp, 3.0), (Kind::Mosquitto, 9.0)]));
        case.compare_with_itself(Kind::Jitp, &alone, Some(2.0));
        case.compare_with_itself(Kind::Mosquitto, &alone, None);
        let [only] = case.comparisons.as_slice() else { panic!("{:?}", case.comparisons) };
        let expected = "jitp, against jitp 64 at a time = 1.50 (rounds 1.50 to 1.50, at most 2: met)";
        assert_eq!(only.sentence(), expected);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(12.34), "12.3");
        assert_eq!(grouped(999.6), "1,000");
        assert_eq!(grouped(1_234_567.0), "1,234,567");
    }
}

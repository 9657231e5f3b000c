//! The same figures at several sizes, side by side, and how the last compares with the first.
use crate::peers::Kind;
use crate::report::{Case, Comparison, Report, Round, grouped, table_of};
use crate::statistics::median;
use std::io::Write;

/// What the project asks of itself: at the largest size a thing costs at most so many times what it costs at the smallest.
const FLAT: f64 = 1.5;

/// Rows of steps, columns of sizes.
pub struct Growth {
    scenario: &'static str,
    kind: &'static str,
    sizes: Vec<u32>,
    /// Step, and a case for each size.
    rows: Vec<(String, Vec<Case>)>,
}

impl Growth {
    pub fn new(scenario: &'static str, kind: &'static str, sizes: Vec<u32>) -> Self {
        Self { scenario, kind, sizes, rows: Vec::new() }
    }

    /// Adds a round to a step at a size.
    pub fn add(&mut self, size: u32, step: &str, unit: &'static str, round: Round) {
        if !self.rows.iter().any(|(known, _)| known == step) {
            let case = |size: &u32| {
                Case::new(self.scenario, format!("{} {}: {step}", whole(*size), self.kind), unit)
            };
            self.rows.push((step.to_owned(), self.sizes.iter().map(case).collect()));
        }
        let row = self.rows.iter_mut().find(|(known, _)| known == step);
        let place = self.sizes.iter().position(|known| *known == size);
        if let Some((_, cases)) = row
            && let Some(case) = place.and_then(|place| cases.get_mut(place))
        {
            case.rounds.push(round);
        }
    }

    /// Compares, prints the table, and hands over the cases.
    pub fn report(mut self, report: &mut Report) -> anyhow::Result<()> {
        for (_, cases) in &mut self.rows {
            if let [first, .., last] = cases.as_mut_slice() {
                last.compare_with_itself(Kind::Jitp, first, Some(FLAT));
            }
        }
        let sizes = self.sizes.iter().map(|size| whole(*size));
        let headings = [self.kind.to_owned(), "unit".to_owned()].into_iter().chain(sizes);
        let mut table = table_of(headings.chain(["last / first".to_owned()]));
        for (step, cases) in &self.rows {
            let unit = cases.first().map_or("", |case| case.unit);
            let values =
                cases.iter().map(|case| median(&case.values(Kind::Jitp)).map_or(String::new(), grouped));
            let ratio =
                cases.last().and_then(|case| case.comparisons.first()).and_then(|c: &Comparison| c.ratio);
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            table.add_row([step.clone(), unit.to_owned()].into_iter().chain(values).chain([ratio]));
        }
        writeln!(std::io::stdout().lock(), "\n{}: {}\n{table}", self.scenario, self.kind)?;
        report.cases.extend(self.rows.into_iter().flat_map(|(_, cases)| cases));
        Ok(())
    }
}

/// A number of things.
pub fn whole(number: u32) -> String {
    if number < 100 { number.to_string() } else { grouped(f64::from(number)) }
}

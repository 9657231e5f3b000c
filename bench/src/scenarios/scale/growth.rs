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
    rows: Vec<Row>,
}

struct Row {
    step: String,
    unit: &'static str,
    at_most: Option<f64>,
    /// One for each size.
    cases: Vec<Case>,
}

impl Growth {
    pub fn new(scenario: &'static str, kind: &'static str, sizes: Vec<u32>) -> Self {
        Self { scenario, kind, sizes, rows: Vec::new() }
    }

    /// Adds a round to a step at a size.
    pub fn add(&mut self, size: u32, step: &str, unit: &'static str, round: Round) {
        self.put(size, step, unit, Some(FLAT), round);
    }

    /// The same for a step of which nothing is asked.
    pub fn mention(&mut self, size: u32, step: &str, unit: &'static str, round: Round) {
        self.put(size, step, unit, None, round);
    }

    fn put(&mut self, size: u32, step: &str, unit: &'static str, at_most: Option<f64>, round: Round) {
        if !self.rows.iter().any(|row| row.step == step) {
            let case = |size: &u32| {
                Case::new(self.scenario, format!("{} {}: {step}", whole(*size), self.kind), unit)
            };
            let cases = self.sizes.iter().map(case).collect();
            self.rows.push(Row { step: step.to_owned(), unit, at_most, cases });
        }
        let row = self.rows.iter_mut().find(|row| row.step == step);
        let place = self.sizes.iter().position(|known| *known == size);
        if let Some(row) = row
            && let Some(case) = place.and_then(|place| row.cases.get_mut(place))
        {
            case.rounds.push(round);
        }
    }

    /// Compares, prints the table, and hands over the cases.
    pub fn report(mut self, report: &mut Report) -> anyhow::Result<()> {
        let sizes = self.sizes.iter().map(|size| whole(*size));
        let headings = [self.kind.to_owned(), "unit".to_owned()].into_iter().chain(sizes);
        let mut table = table_of(headings.chain(["last / first".to_owned(), "rounds".to_owned()]));
        for row in &mut self.rows {
            table.add_row(row.compared());
        }
        writeln!(std::io::stdout().lock(), "\n{}: {}\n{table}", self.scenario, self.kind)?;
        report.cases.extend(self.rows.into_iter().flat_map(|row| row.cases));
        Ok(())
    }
}

impl Row {
    /// Compares the last with the first; gives what the table says.
    fn compared(&mut self) -> Vec<String> {
        if let [first, .., last] = self.cases.as_mut_slice() {
            last.compare_with_itself(Kind::Jitp, first, self.at_most);
        }
        let shown = |case: &Case| median(&case.values(Kind::Jitp)).map_or(String::new(), small);
        let mut cells = vec![self.step.clone(), self.unit.to_owned()];
        cells.extend(self.cases.iter().map(shown));
        let found: Option<&Comparison> = self.cases.last().and_then(|case| case.comparisons.first());
        let (ratio, range) = found.map_or((None, None), |found| (found.ratio, found.range));
        cells.push(ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
        cells.push(range.map_or(String::new(), |(low, high)| format!("{low:.2} to {high:.2}")));
        cells
    }
}

/// With two decimals below 100.
fn small(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { grouped(value) }
}

/// A number of things.
pub fn whole(number: u32) -> String {
    if number < 100 { number.to_string() } else { grouped(f64::from(number)) }
}

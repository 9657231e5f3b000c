//! The end of a run: one line for every case that has an aim.
use crate::comparison::BETTER;
use crate::peers::Kind;
use crate::report::{Case, Comparison, Report, grouped, table};
use crate::statistics::median;
use std::io::Write;

impl Report {
    /// Prints what was aimed at and what came of it.
    pub fn summarise(&self) -> anyhow::Result<()> {
        let headings = ["case", "unit", "jitp", "against", "ratio", "aim", ""];
        let mut table = table(headings.into_iter());
        let mut rows = 0;
        for case in &self.cases {
            for comparison in case.comparisons.iter().filter(|comparison| comparison.met().is_some()) {
                table.add_row(row(case, comparison));
                rows += 1;
            }
        }
        if rows > 0 {
            writeln!(std::io::stdout().lock(), "\nwhat was aimed at\n{table}")?;
        }
        Ok(())
    }
}

fn row(case: &Case, comparison: &Comparison) -> Vec<String> {
    let own = median(&case.values(Kind::Jitp)).unwrap_or_default();
    let against = comparison.name.strip_prefix(BETTER).map_or(comparison.name.as_str(), str::trim);
    let aim = comparison.target.map(|target| format!(">= {target}"));
    let aim = aim.or_else(|| comparison.at_most.map(|most| format!("<= {most}"))).unwrap_or_default();
    vec![
        format!("{}: {}", case.scenario, case.variant),
        case.unit.to_owned(),
        grouped(own),
        against.to_owned(),
        comparison.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        aim,
        if comparison.met() == Some(true) { "met" } else { "missed" }.to_owned(),
    ]
}

//! `docs/conformance.md` and the tests say the same.
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A statement: the version, and its number without `MQTT-`.
type Statement = (String, String);

/// What the page says of each statement: the tests, by file and name. None: it gives a reason instead.
fn page() -> anyhow::Result<BTreeMap<Statement, BTreeSet<(String, String)>>> {
    let mut rows = BTreeMap::new();
    let mut version = None;
    let mut last = Vec::new();
    for line in include_str!("../../../docs/conformance.md").lines() {
        if let Some(heading) = line.strip_prefix("## MQTT ") {
            version = Some(heading.to_owned());
            last.clear();
        }
        let Some(row) = line.strip_prefix("| MQTT-") else { continue };
        let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let [id, asks, covered] = cells[..] else { anyhow::bail!("not a row of three cells: {line}") };
        ensure!(!asks.is_empty() && !covered.is_empty(), "a cell is empty: {line}");
        let number = id
            .split(['.', '-'])
            .map(|part| part.parse().context("not a number"))
            .collect::<Result<Vec<u32>, _>>()?;
        ensure!(number > last, "{id} is not in order");
        last = number;
        let version = version.clone().context("a row before the heading of its version")?;
        let tests = covered.split('`').skip(1).step_by(2).filter_map(|test| test.split_once("::"));
        let tests = tests.map(|(file, name)| (file.to_owned(), name.to_owned())).collect();
        ensure!(rows.insert((version, id.to_owned()), tests).is_none(), "{id} is there twice");
    }
    Ok(rows)
}

/// The tests of a file, each with the statements that the comments above it name.
fn tests(file: &Path) -> anyhow::Result<Vec<(String, BTreeSet<Statement>)>> {
    let mut found = Vec::new();
    let mut tagged = BTreeSet::new();
    let mut is_test = false;
    for line in std::fs::read_to_string(file)?.lines().map(str::trim_start) {
        for version in ["3.1.1", "5.0"] {
            if let Some(ids) = line.strip_prefix(&format!("// {version}: ")) {
                tagged.extend(ids.split_whitespace().map(|id| (version.to_owned(), id.to_owned())));
            }
        }
        is_test |= line.starts_with("#[tokio::test") || line == "#[test]";
        let rest = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test);
        if let Some((name, _)) = rest.and_then(|rest| rest.split_once('(')) {
            found.push((name.to_owned(), std::mem::take(&mut tagged)));
            is_test = false;
        }
    }
    ensure!(tagged.is_empty(), "{tagged:?} is above no test of {}", file.display());
    Ok(found)
}

fn all_tests() -> anyhow::Result<BTreeMap<(String, String), BTreeSet<Statement>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all = BTreeMap::new();
    for (prefix, directory) in [("conformance/", directory.join("conformance")), ("", directory)] {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.file_stem().and_then(|stem| stem.to_str()).context("a file without a name")?;
                let file = format!("{prefix}{name}");
                all.extend(tests(&path)?.into_iter().map(|(test, ids)| ((file.clone(), test), ids)));
            }
        }
    }
    Ok(all)
}

#[test]
fn every_statement_is_on_the_page_once_and_in_order() -> anyhow::Result<()> {
    let rows = page()?;
    let of = |version: &str| rows.keys().filter(|(of, _)| of == version).count();
    assert_eq!((of("3.1.1"), of("5.0")), (THREE, FIVE));
    Ok(())
}

/// The normative statements of each specification's appendix B.
const THREE: usize = 142;
const FIVE: usize = 251;

#[test]
fn every_test_that_the_page_names_exists_and_every_statement_that_a_test_names_is_on_the_page()
-> anyhow::Result<()> {
    let (rows, tests) = (page()?, all_tests()?);
    for (statement, named) in &rows {
        for test in named {
            let tags =
                tests.get(test).with_context(|| format!("{statement:?}: there is no test {test:?}"))?;
            ensure!(
                tags.contains(statement) || !test.0.starts_with("conformance/"),
                "{test:?} does not name {statement:?}"
            );
        }
    }
    for (test, tags) in &tests {
        for statement in tags {
            let named = rows
                .get(statement)
                .with_context(|| format!("{test:?} names {statement:?}, which is not on the page"))?;
            ensure!(named.contains(test), "{statement:?} has no mention of {test:?}");
        }
    }
    Ok(())
}

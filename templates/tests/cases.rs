//! Runs every case of `tests/cases/*.json`: a template, perhaps values, and what must come of them.
#![expect(clippy::unwrap_used, reason = "here a failed unwrap is a failed test")]
use jitp_templates::{Caller, EvaluationProblem, Parameters, ProblemKind, Rules, Template};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    description: String,
    caller: CallerName,
    #[serde(default)]
    functions_in_fleet_only: bool,
    /// The body as written here, or, if it is a string, the string's content.
    template: Box<RawValue>,
    #[serde(default)]
    parameters: Parameters,
    expect: Expect,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum CallerName {
    Jitp,
    Rest,
    Bulk,
    Fleet,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Expect {
    /// The whole plan; absent members are null or empty.
    Plan(Value),
    /// All problems, in order.
    Problems(Vec<ExpectedProblem>),
    /// All problems, in order.
    Evaluation(Vec<ExpectedFailure>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedProblem {
    path: String,
    contains: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedFailure {
    kind: String,
    path: String,
    resource: Option<String>,
    parameter: Option<String>,
    #[serde(default)]
    contains: String,
}

#[test]
fn every_case_gives_the_expected_plan_or_the_expected_problems() {
    let mut faults = Vec::new();
    let mut count = 0;
    for path in case_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let cases: Vec<Case> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in cases {
            count += 1;
            if let Err(fault) = case.run() {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                faults.push(format!("{file}: {}:\n{fault}", case.description));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {count} cases fail\n\n{}", faults.len(), faults.join("\n\n"));
}

fn case_files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

impl Case {
    fn run(&self) -> Result<(), String> {
        let raw = self.template.get();
        let body = if raw.starts_with('"') { serde_json::from_str(raw).unwrap() } else { raw.to_owned() };
        let caller = match self.caller {
            CallerName::Jitp => Caller::Jitp,
            CallerName::Rest => Caller::Rest,
            CallerName::Bulk => Caller::Bulk,
            CallerName::Fleet => Caller::Fleet,
        };
        let rules =
            Rules { caller, policy: &has_a_statement, functions_in_fleet_only: self.functions_in_fleet_only };
        let parsed = Template::parse(&body, rules);
        match (&self.expect, parsed) {
            (Expect::Problems(expected), Err(problems)) => {
                let matches = expected.len() == problems.0.len()
                    && expected.iter().zip(&problems.0).all(|(expected, actual)| {
                        actual.path == expected.path && actual.message.contains(&expected.contains)
                    });
                if matches { Ok(()) } else { Err(format!("  unexpected problems:\n{}", lines(&problems.0))) }
            }
            (Expect::Problems(_), Ok(_)) => Err("  the template was accepted".to_owned()),
            (_, Err(problems)) => Err(format!("  the template was refused:\n{}", lines(&problems.0))),
            (Expect::Plan(expected), Ok(template)) => match template.evaluate(&self.parameters) {
                Ok(plan) => same_plan(expected, serde_json::to_value(plan).unwrap()),
                Err(error) => Err(format!("  the evaluation failed:\n{}", lines(&error.0))),
            },
            (Expect::Evaluation(expected), Ok(template)) => match template.evaluate(&self.parameters) {
                Ok(_) => Err("  the evaluation succeeded".to_owned()),
                Err(error) => {
                    let matches = expected.len() == error.0.len()
                        && expected.iter().zip(&error.0).all(|(expected, actual)| expected.matches(actual));
                    if matches { Ok(()) } else { Err(format!("  unexpected failures:\n{}", lines(&error.0))) }
                }
            },
        }
    }
}

impl ExpectedFailure {
    fn matches(&self, actual: &EvaluationProblem) -> bool {
        actual.path == self.path
            && name_of(actual.kind) == self.kind
            && actual.resource == self.resource
            && actual.parameter == self.parameter
            && actual.message.contains(&self.contains)
    }
}

fn name_of(kind: ProblemKind) -> String {
    serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
}

/// Stands in for the policy language.
fn has_a_statement(document: &str) -> Result<(), String> {
    let document: Value = serde_json::from_str(document).map_err(|error| error.to_string())?;
    document.get("Statement").map(|_| ()).ok_or_else(|| "the policy has no Statement: add one".to_owned())
}

fn same_plan(expected: &Value, mut actual: Value) -> Result<(), String> {
    let plan = actual.as_object_mut().unwrap();
    for resource in ["thing", "certificate"] {
        if let Some(members) = plan.get_mut(resource).and_then(Value::as_object_mut) {
            members.retain(|_, value| !value.is_null());
        }
    }
    plan.retain(|_, value| {
        !matches!(value, Value::Null) && *value != serde_json::json!([]) && *value != serde_json::json!({})
    });
    if *expected == actual { Ok(()) } else { Err(format!("  unexpected plan:\n  {actual}")) }
}

fn lines(problems: &[impl serde::Serialize]) -> String {
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("    {}", serde_json::to_string(problem).unwrap())).collect();
    lines.join("\n")
}

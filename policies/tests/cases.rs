//! Every decision in `cases/*.json`, named after the sections of `spec/policies.md`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a case that cannot be read or decided is a failed test"
)]

mod case;

use case::{Case, DocumentCase};
use jitp_policies::{Decision, Document, Statement};
use std::path::Path;

#[test]
fn every_case_is_decided_as_written() {
    let mut decisions = 0;
    let mut failures = Vec::new();
    for file in
        ["2-actions", "3-matching", "4-evaluation", "5-variables", "6-things", "8-conditions", "11-uncertain"]
    {
        for case in read::<Case>(file) {
            decisions += case.requests.len();
            failures.extend(
                case.failures().into_iter().map(|failure| format!("{file}: {}: {failure}", case.case)),
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(decisions >= 300, "only {decisions} decisions were read");
}

#[test]
fn every_document_is_accepted_or_refused_as_written() {
    for DocumentCase { case, text, document, path, message } in read::<DocumentCase>("1-documents") {
        let text = text.unwrap_or_else(|| document.unwrap().to_string());
        match (Document::parse(&text), path.zip(message)) {
            (Ok(_), None) => {}
            (Err(error), Some((path, message))) => {
                assert_eq!(error.path, path, "{case}: {error}");
                assert!(error.message.contains(&message), "{case}: {error}");
            }
            (result, wanted) => panic!("{case}: {result:?}, wanted {wanted:?}"),
        }
    }
}

impl Case {
    fn failures(&self) -> Vec<String> {
        let permissions = self.permissions();
        let mut failures = Vec::new();
        for request in &self.requests {
            let action = request.action();
            let (decision, by) = match permissions.decide(action, &request.name) {
                Decision::Allowed { by } => ("allowed", Some(by)),
                Decision::Denied { by } => ("denied", Some(by)),
                Decision::NotAllowed => ("not allowed", None),
            };
            let explanation = permissions.explain(action, &request.name);
            let reasons = || explanation.near_misses.iter().map(|miss| miss.reason.as_str());
            let decided = decision == request.decision && by.map(short) == request.by;
            let reasoned =
                request.near_miss.as_ref().is_none_or(|wanted| reasons().any(|has| has.contains(wanted)));
            let agrees =
                explanation.allowed == (decision == "allowed") && explanation.decided_by.as_ref() == by;
            let has_reasons = reasons().all(|reason| !reason.is_empty());
            if !(decided && reasoned && agrees && has_reasons) {
                failures.push(format!("{request:?}\n    {explanation}"));
            }
        }
        failures
    }
}

/// `policy#sid`, or `policy#index` without one.
fn short(statement: &Statement) -> String {
    let index = statement.index.to_string();
    format!("{}#{}", statement.policy, statement.sid.as_deref().unwrap_or(&index))
}

fn read<T: serde::de::DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(file).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

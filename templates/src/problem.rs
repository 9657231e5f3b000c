//! What is wrong with a template, or with the values given to it.
use crate::place::Place;
use std::fmt;

/// A report lists this many problems; a last entry counts the rest.
pub(crate) const MAX_REPORTED: usize = 100;

/// One mistake in a template.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// JSON path of the mistake: `$.Resources.gw.Properties.ThingName`; odd keys are quoted:
    /// `$.Parameters['AWS::IoT::Certificate::Id']`.
    pub path: String,
    /// What is wrong and what to write instead, for a person.
    pub message: String,
}

/// Every mistake in a template, in document order, at least one. After 100, a last entry says how many more
/// there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// In document order and bounded.
    pub(crate) fn in_order(mut found: Vec<(Place, String)>) -> Self {
        found.sort_by_key(|(place, _)| place.offset());
        let left_out = found.len().saturating_sub(MAX_REPORTED);
        found.truncate(MAX_REPORTED);
        let mut problems: Vec<Problem> =
            found.into_iter().map(|(place, message)| Problem { path: place.to_string(), message }).collect();
        if left_out > 0 {
            problems.push(Problem { path: "$".to_owned(), message: format!("and {left_out} more problems") });
        }
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_all(f, self.0.iter().map(|problem| (&problem.path, &problem.message)))
    }
}

/// The kind of an evaluation problem: decides the reason code of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProblemKind {
    /// A parameter has neither a value nor a default.
    MissingParameter,
    /// `ThingName` evaluates to an illegal name.
    InvalidThingName,
    /// A value in `AttributePayload` evaluates to an illegal text.
    InvalidAttribute,
    /// Another name evaluates to an illegal text: type, group, billing group, policy.
    InvalidName,
    /// `Status` evaluates to something other than ACTIVE and INACTIVE.
    InvalidStatus,
    /// `CertificateId` does not evaluate to a certificate id, or a PEM text is empty.
    InvalidCertificateSource,
    /// A function cannot be applied to its arguments: key absent, index out of range.
    FunctionFailed,
    /// A text or a list exceeds its bound.
    TooLong,
}

/// One reason why a run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EvaluationProblem {
    /// What kind of failure it is.
    pub kind: ProblemKind,
    /// JSON path, in the template, of what failed.
    pub path: String,
    /// Logical name of the resource, if the problem is in one.
    pub resource: Option<String>,
    /// The missing parameter, for [`ProblemKind::MissingParameter`]; the parameter with the overlong value,
    /// for a [`ProblemKind::TooLong`] at a declaration.
    pub parameter: Option<String>,
    /// What happened and what to do, for a person.
    pub message: String,
}

/// Every reason why a run cannot go on, in the order of the template, at least one and at most 100.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
pub struct EvaluationError(pub Vec<EvaluationProblem>);

impl EvaluationError {
    /// In document order and bounded; fills in the paths.
    pub(crate) fn in_order(mut found: Vec<(Place, EvaluationProblem)>) -> Self {
        found.sort_by_key(|(place, _)| place.offset());
        found.truncate(MAX_REPORTED);
        let with_path =
            |(place, problem): (Place, _)| EvaluationProblem { path: place.to_string(), ..problem };
        Self(found.into_iter().map(with_path).collect())
    }
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_all(f, self.0.iter().map(|problem| (&problem.path, &problem.message)))
    }
}

/// Result of an evaluation.
pub type Evaluation = Result<crate::Plan, EvaluationError>;

fn write_all<'p>(
    f: &mut fmt::Formatter<'_>,
    problems: impl Iterator<Item = (&'p String, &'p String)>,
) -> fmt::Result {
    for (i, (path, message)) in problems.enumerate() {
        if i > 0 {
            f.write_str("; ")?;
        }
        write!(f, "{path}: {message}")?;
    }
    Ok(())
}

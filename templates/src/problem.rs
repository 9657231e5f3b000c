//! What is wrong with a template, or with the values given to it.
use std::fmt;

/// One mistake in a template.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)]
pub struct Problem {
    /// JSON path: `$.Resources.gw.Properties.ThingName`.
    pub path: String,
    pub message: String,
}
/// Every mistake in a template, in document order, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
pub struct Problems(pub Vec<Problem>);
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", p.path, p.message)?;
        }
        Ok(())
    }
}

/// The kind of an evaluation problem: decides the reason code of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum ProblemKind {
    MissingParameter,
    InvalidThingName,
    InvalidAttribute,
    InvalidName,
    InvalidStatus,
    InvalidCertificateSource,
    FunctionFailed,
    TooLong,
}
/// One reason why a run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct EvaluationProblem {
    pub kind: ProblemKind,
    pub path: String,
    /// Logical name of the resource, if the problem is in one.
    pub resource: Option<String>,
    /// The missing parameter, for `MissingParameter`.
    pub parameter: Option<String>,
    pub message: String,
}
/// Every reason why a run cannot go on, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
pub struct EvaluationError(pub Vec<EvaluationProblem>);
impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", p.path, p.message)?;
        }
        Ok(())
    }
}
/// Result of an evaluation.
pub type Evaluation = Result<crate::Plan, EvaluationError>;

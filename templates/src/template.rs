//! A template that has passed validation.
use crate::{Evaluation, PolicyName, Problems};
use std::collections::BTreeMap;

/// Parameter values by name.
pub type Parameters = BTreeMap<String, String>;

/// Who runs the template: the language differs a little (`spec/templates.md` sections 1, 2, 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Caller {
    Jitp,
    Rest,
    Bulk,
    Fleet,
}

/// What validation depends on.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Rules<'a> {
    pub caller: Caller,
    /// Accepts or explains an inline policy document (the policy language is not known here).
    pub policy: &'a dyn Fn(&str) -> Result<(), String>,
    /// Refuse `Fn::…` outside fleet templates (strict AWS reading). Default false.
    pub functions_in_fleet_only: bool,
}

/// A validated template; evaluating it is pure, total and deterministic.
#[derive(Debug, Clone)]
pub struct Template {}

impl Template {
    /// Parses and validates; reports every problem at once.
    pub fn parse(_body: &str, _rules: Rules<'_>) -> Result<Self, Problems> {
        unimplemented!()
    }
    /// Declared parameters with their defaults.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        std::iter::empty()
    }
    /// Fills in the values. `AWS::…` values in `values` are trusted: the caller has put only its own there.
    pub fn evaluate(&self, _values: &Parameters) -> Evaluation {
        unimplemented!()
    }
}

/// The name of an inline policy (`spec/templates.md` section 3.3): 40 upper-case hex digits of the SHA-256 of the
/// document with sorted keys and no white space.
pub fn generated_policy_name(_document: &serde_json::Value) -> PolicyName {
    unimplemented!()
}

//! Conditions of statements (`spec/policies.md` section 8).
use crate::key::Key;
use crate::operator::{Comparison, Operand, Operator, Unusable};
use crate::template::Template;
use crate::values::{Missing, Values};
use std::fmt::Write as _;

/// One key under one operator. A statement applies only if all of its conditions hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) test: Test,
    pub(crate) key: Key,
    /// May be empty: no value can match.
    pub(crate) values: Box<[Template]>,
}

/// The name of an operator with what stands around it: `ForAllValues:StringEqualsIfExists`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Test {
    pub(crate) quantifier: Option<Quantifier>,
    pub(crate) operator: Operator,
    pub(crate) if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    ForAllValues,
    ForAnyValue,
}

impl Test {
    /// `Err` says what to write instead.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let (quantifier, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Quantifier::ForAllValues), rest),
            Some(("ForAnyValue", rest)) => (Some(Quantifier::ForAnyValue), rest),
            Some((other, _)) => {
                return Err(format!("unknown prefix {other:?}; write `ForAllValues:` or `ForAnyValue:`"));
            }
            None => (None, name),
        };
        let (plain, if_exists) = match rest.strip_suffix("IfExists") {
            Some(plain) => (plain, true),
            None => (rest, false),
        };
        let Some(operator) = Operator::named(plain) else {
            let nearest = Operator::nearest(plain).map(|near| format!("; did you mean `{near}`?"));
            return Err(format!("unknown operator {plain:?}{}", nearest.unwrap_or_default()));
        };
        if operator.comparison == Comparison::Null && (quantifier.is_some() || if_exists) {
            return Err("write `Null` without prefix and without `IfExists`".to_owned());
        }
        Ok(Self { quantifier, operator, if_exists })
    }

    fn name(self) -> String {
        let quantifier = match self.quantifier {
            Some(Quantifier::ForAllValues) => "ForAllValues:",
            Some(Quantifier::ForAnyValue) => "ForAnyValue:",
            None => "",
        };
        format!("{quantifier}{}{}", self.operator.name, if self.if_exists { "IfExists" } else { "" })
    }
}

impl Condition {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.key).chain(self.values.iter().flat_map(Template::keys))
    }

    /// A condition key without values, such as `iot:ConnectAttributes` of a plain connect, counts as missing.
    ///
    /// A value with an unresolved variable matches nothing; under a negated operator the condition is then false, so
    /// that it neither allows nor denies (section 4).
    pub(crate) fn holds(&self, values: &Values, connecting: bool) -> bool {
        let Test { quantifier, operator: Operator { comparison, negated, .. }, if_exists } = self.test;
        let present = values.list(&self.key, connecting).unwrap_or_default();
        if if_exists && present.is_empty() {
            return true;
        }
        let operands: Vec<Result<Operand, Unusable>> =
            self.values.iter().map(|template| comparison.operand(template, values)).collect();
        if negated && operands.iter().any(Result::is_err) {
            return false;
        }
        if comparison == Comparison::Null {
            return operands.contains(&Ok(Operand::Bool(present.is_empty())));
        }
        let matches =
            |value: &str| operands.iter().flatten().any(|operand| comparison.matches(value, operand));
        let mut passes = present.iter().map(|value| matches(value) != negated);
        match quantifier {
            Some(Quantifier::ForAllValues) => passes.all(|pass| pass),
            Some(Quantifier::ForAnyValue) => passes.any(|pass| pass),
            None if negated => passes.all(|pass| pass),
            None => passes.any(|pass| pass),
        }
    }

    /// Why it does not hold, for a person.
    pub(crate) fn reason(&self, values: &Values, connecting: bool) -> String {
        let mut reason = format!("condition {} {} is false: ", self.test.name(), self.key);
        reason.push_str(&match values.list(&self.key, connecting) {
            Ok([]) => "the key has no value on this connection".to_owned(),
            Ok([value]) => format!("the value is `{value}`"),
            Ok(list) => format!("the values are {}", quoted(list.iter().map(|value| &**value))),
            Err(Missing::Unknown) => "there is no such key".to_owned(),
            Err(missing) => format!("the key has no value because {missing}"),
        });
        let _ = match &*self.values {
            [] => write!(reason, ", the policy lists none"),
            templates => {
                write!(reason, ", the policy has {}", quoted(templates.iter().map(Template::source)))
            }
        };
        for template in &self.values {
            if let Err(unusable) = self.test.operator.comparison.operand(template, values) {
                let _ = write!(reason, ", where {unusable}");
            }
        }
        reason
    }
}

/// At most three.
fn quoted<'t>(texts: impl ExactSizeIterator<Item = &'t str>) -> String {
    const SHOWN: usize = 3;
    let more = texts.len().saturating_sub(SHOWN);
    let shown: Vec<String> = texts.take(SHOWN).map(|text| format!("`{text}`")).collect();
    let shown = shown.join(" and ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

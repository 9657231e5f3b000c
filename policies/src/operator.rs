//! What the operators of conditions compare (`spec/policies.md` section 8).
use crate::date;
use crate::glob::Pattern;
use crate::ip_range::IpRange;
use crate::template::{Template, Unresolved};
use crate::values::Values;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

/// A row of the table of operators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Operator {
    pub(crate) name: &'static str,
    pub(crate) comparison: Comparison,
    /// True if no value matches.
    pub(crate) negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Text,
    TextIgnoreCase,
    /// Text or ARN with `*` and `?`, which match as in resources.
    Like,
    Bool,
    Address,
    Number(Relation),
    Date(Relation),
    /// Whether the key has no value.
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

use Comparison::{Address, Bool, Date, Like, Null, Number, Text, TextIgnoreCase};
use Relation::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};

const OPERATORS: [Operator; 26] = [
    is("StringEquals", Text),
    is_not("StringNotEquals", Text),
    is("StringEqualsIgnoreCase", TextIgnoreCase),
    is_not("StringNotEqualsIgnoreCase", TextIgnoreCase),
    is("StringLike", Like),
    is_not("StringNotLike", Like),
    is("ArnEquals", Like),
    is_not("ArnNotEquals", Like),
    is("ArnLike", Like),
    is_not("ArnNotLike", Like),
    is("Bool", Bool),
    is("IpAddress", Address),
    is_not("NotIpAddress", Address),
    is("NumericEquals", Number(Equal)),
    is_not("NumericNotEquals", Number(Equal)),
    is("NumericLessThan", Number(Less)),
    is("NumericLessThanEquals", Number(LessOrEqual)),
    is("NumericGreaterThan", Number(Greater)),
    is("NumericGreaterThanEquals", Number(GreaterOrEqual)),
    is("DateEquals", Date(Equal)),
    is_not("DateNotEquals", Date(Equal)),
    is("DateLessThan", Date(Less)),
    is("DateLessThanEquals", Date(LessOrEqual)),
    is("DateGreaterThan", Date(Greater)),
    is("DateGreaterThanEquals", Date(GreaterOrEqual)),
    is("Null", Null),
];

const fn is(name: &'static str, comparison: Comparison) -> Operator {
    Operator { name, comparison, negated: false }
}

const fn is_not(name: &'static str, comparison: Comparison) -> Operator {
    Operator { name, comparison, negated: true }
}

impl Operator {
    pub(crate) fn named(name: &str) -> Option<Self> {
        OPERATORS.into_iter().find(|operator| operator.name == name)
    }

    /// The operator that was probably meant.
    pub(crate) fn nearest(name: &str) -> Option<&'static str> {
        if name.len() > 40 {
            return None;
        }
        let with_distance = |operator: &Self| {
            let same = operator.name.eq_ignore_ascii_case(name);
            (if same { 0 } else { distance(operator.name, name) }, operator.name)
        };
        let (distance, nearest) =
            OPERATORS.iter().map(with_distance).min_by_key(|(distance, _)| *distance)?;
        (distance <= 4).then_some(nearest)
    }
}

/// How many characters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (index, from) in a.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, to) in row.iter_mut().zip(std::iter::once(None).chain(b.chars().map(Some))) {
            let above = *cell;
            let Some(to) = to else {
                *cell = left;
                continue;
            };
            left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// A value of a condition, ready to compare.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Text(String),
    /// In lower case.
    Folded(String),
    Pattern(Pattern),
    Bool(bool),
    Range(IpRange),
    Number(f64),
    Date(i128),
}

/// Why a value of a condition cannot be compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Unusable {
    Unresolved(Unresolved),
    /// It does not have the form that the operator compares.
    Malformed {
        text: String,
        wanted: &'static str,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(unresolved) => unresolved.fmt(f),
            Self::Malformed { text, wanted } => write!(f, "`{text}` is not {wanted}"),
        }
    }
}

impl Comparison {
    /// Fills in the variables and reads what results.
    pub(crate) fn operand(self, template: &Template, values: &Values) -> Result<Operand, Unusable> {
        if self == Like {
            return template.pattern(values).map(Operand::Pattern).map_err(Unusable::Unresolved);
        }
        let text = template.text(values).map_err(Unusable::Unresolved)?;
        let (operand, wanted) = match self {
            Text | Like => return Ok(Operand::Text(text)),
            TextIgnoreCase => return Ok(Operand::Folded(text.to_lowercase())),
            Bool | Null => (boolean(&text).map(Operand::Bool), "a boolean: write \"true\" or \"false\""),
            Address => (
                IpRange::parse(&text).map(Operand::Range),
                "an address range: write it like 10.0.0.0/8 or 2001:db8::/32",
            ),
            Number(_) => (number(&text).map(Operand::Number), "a number: write it like 5 or -0.5"),
            Date(_) => (
                date::parse(&text).map(Operand::Date),
                "a date: write it like 2026-01-31T12:00:00Z, or in seconds since 1970",
            ),
        };
        operand.ok_or(Unusable::Malformed { text, wanted })
    }

    /// Whether a value of the key matches a value of the condition, negation left aside.
    pub(crate) fn matches(self, value: &str, operand: &Operand) -> bool {
        match (self, operand) {
            (Text, Operand::Text(wanted)) => value == wanted,
            (TextIgnoreCase, Operand::Folded(wanted)) => value.to_lowercase() == *wanted,
            (Like, Operand::Pattern(pattern)) => pattern.matches(value),
            (Bool, Operand::Bool(wanted)) => boolean(value) == Some(*wanted),
            (Address, Operand::Range(range)) => {
                value.parse::<IpAddr>().is_ok_and(|address| range.contains(address))
            }
            (Number(relation), Operand::Number(wanted)) => number(value)
                .and_then(|value| value.partial_cmp(wanted))
                .is_some_and(|order| relation.accepts(order)),
            (Date(relation), Operand::Date(wanted)) => {
                date::parse(value).is_some_and(|value| relation.accepts(value.cmp(wanted)))
            }
            _ => false,
        }
    }
}

impl Relation {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Equal => order.is_eq(),
            Less => order.is_lt(),
            LessOrEqual => order.is_le(),
            Greater => order.is_gt(),
            GreaterOrEqual => order.is_ge(),
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A decimal number; not `inf` or `NaN`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_found_only_by_its_exact_name() {
        assert!(Operator::named("StringEquals").is_some());
        assert!(Operator::named("stringequals").is_none());
        for operator in OPERATORS {
            assert_eq!(Operator::named(operator.name), Some(operator));
        }
    }

    #[test]
    fn a_misspelt_operator_has_a_nearest_one() {
        assert_eq!(Operator::nearest("stringequals"), Some("StringEquals"));
        assert_eq!(Operator::nearest("StringEqual"), Some("StringEquals"));
        assert_eq!(Operator::nearest("IPAddress"), Some("IpAddress"));
        assert_eq!(Operator::nearest("Regex"), None);
        assert_eq!(Operator::nearest(&"x".repeat(2000)), None);
    }

    #[test]
    fn the_distance_of_two_words_counts_edits() {
        for (a, b, expected) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}

//! One term of a query: a field, and what its value must be like.
use super::QueryError;
use super::lexer::Piece;
use crate::connectivity::ConnectionState;
use crate::names::ThingGroupName;
use crate::records::ThingRecord;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Bound;

/// A thing as a query sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) thing: &'a ThingRecord,
    pub(crate) groups: &'a [ThingGroupName],
    /// `None` where connectivity is not indexed.
    pub(crate) connection: Option<ConnectionState>,
}

/// What a term is about; without a field all of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    pub(super) field: Option<Field>,
    pub(super) test: Test,
}

/// What of a thing can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    ThingName,
    ThingId,
    ThingTypeName,
    ThingGroupNames,
    Attribute(String),
    Connected,
    ConnectivityTimestamp,
    DisconnectReason,
}

/// What a value must be like.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// Lower-case text with wildcards.
    Like(Vec<Piece>),
    Within(Bound<Operand>, Bound<Operand>),
}

/// A bound: compared as a number where both sides are numbers, else as text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    text: String,
    number: Option<f64>,
}

impl Field {
    pub(super) fn named(name: &str) -> Result<Self, QueryError> {
        Ok(match name {
            "thingName" => Self::ThingName,
            "thingId" => Self::ThingId,
            "thingTypeName" => Self::ThingTypeName,
            "thingGroupNames" => Self::ThingGroupNames,
            "connectivity.connected" => Self::Connected,
            "connectivity.timestamp" => Self::ConnectivityTimestamp,
            "connectivity.disconnectReason" => Self::DisconnectReason,
            other => match other.strip_prefix("attributes.").filter(|name| !name.is_empty()) {
                Some(attribute) => Self::Attribute(attribute.into()),
                None => {
                    let shown: String = other.chars().take(100).collect();
                    return Err(QueryError(format!(
                        "there is no field {shown:?}: use thingName, thingId, thingTypeName, thingGroupNames, \
                         attributes.NAME, connectivity.connected, connectivity.timestamp or \
                         connectivity.disconnectReason; a colon in a value is written \\:"
                    )));
                }
            },
        })
    }
}

impl Term {
    pub(super) fn matches(&self, thing: &Candidate<'_>) -> bool {
        match &self.field {
            Some(field) => values(field, thing).any(|value| self.test.admits(&value)),
            None => {
                let fields = [
                    Field::ThingName,
                    Field::ThingId,
                    Field::ThingTypeName,
                    Field::ThingGroupNames,
                    Field::DisconnectReason,
                ];
                fields.iter().any(|field| values(field, thing).any(|value| self.test.admits(&value)))
                    || thing.thing.attributes.values().any(|value| self.test.admits(value.as_str()))
            }
        }
    }
    pub(super) fn needs_groups(&self) -> bool {
        matches!(self.field, None | Some(Field::ThingGroupNames))
    }
    pub(super) fn asks_for_connectivity(&self) -> bool {
        matches!(self.field, Some(Field::Connected | Field::ConnectivityTimestamp | Field::DisconnectReason))
    }
}

fn values<'a>(field: &'a Field, candidate: &Candidate<'a>) -> Box<dyn Iterator<Item = Cow<'a, str>> + 'a> {
    let thing = candidate.thing;
    let state = candidate.connection;
    let one = |value: Option<Cow<'a, str>>| -> Box<dyn Iterator<Item = Cow<'a, str>> + 'a> {
        Box::new(value.into_iter())
    };
    match field {
        Field::ThingName => one(Some(thing.name.as_str().into())),
        Field::ThingId => one(Some(thing.thing_id.as_str().into())),
        Field::ThingTypeName => one(thing.thing_type.as_ref().map(|name| name.as_str().into())),
        Field::ThingGroupNames => Box::new(candidate.groups.iter().map(|name| name.as_str().into())),
        Field::Attribute(wanted) => {
            let found = thing.attributes.iter().find(|(name, _)| name.as_str() == wanted);
            one(found.map(|(_, value)| value.as_str().into()))
        }
        Field::Connected => {
            one(state.map(|state| if state.connected { "true".into() } else { "false".into() }))
        }
        Field::ConnectivityTimestamp => {
            one(state.filter(|state| state.since.0 > 0).map(|state| state.since.0.to_string().into()))
        }
        Field::DisconnectReason => one(state.and_then(|state| state.disconnect_reason).map(Cow::from)),
    }
}

impl Test {
    pub(super) fn like(pieces: &[Piece]) -> Self {
        let lower = |piece: &Piece| match piece {
            Piece::Char(character) => character.to_lowercase().map(Piece::Char).collect(),
            other => vec![*other],
        };
        Self::Like(pieces.iter().flat_map(lower).collect())
    }
    fn admits(&self, value: &str) -> bool {
        let value = value.to_lowercase();
        match self {
            Self::Like(pattern) => is_like(pattern, &value),
            Self::Within(low, high) => {
                let above = match low {
                    Bound::Included(low) => low.compare(&value).is_le(),
                    Bound::Excluded(low) => low.compare(&value).is_lt(),
                    Bound::Unbounded => true,
                };
                let below = match high {
                    Bound::Included(high) => high.compare(&value).is_ge(),
                    Bound::Excluded(high) => high.compare(&value).is_gt(),
                    Bound::Unbounded => true,
                };
                above && below
            }
        }
    }
}

impl Operand {
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.into(), number: number(text) }
    }
    fn compare(&self, value: &str) -> Ordering {
        match (self.number, number(value)) {
            (Some(own), Some(other)) => own.total_cmp(&other),
            _ => self.text.as_str().cmp(value),
        }
    }
}

/// Digits with a sign and a point; not what else Rust reads as a number.
fn number(text: &str) -> Option<f64> {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        .then(|| text.parse().ok())
        .flatten()
        .filter(|number: &f64| number.is_finite())
}

/// Takes at most the length of the pattern times that of the value, both of which are bounded.
fn is_like(pattern: &[Piece], value: &str) -> bool {
    let value: Vec<char> = value.chars().collect();
    let (mut at, mut pattern_at) = (0, 0);
    // Where to go on when the last `*` has to take one more.
    let mut last_any: Option<(usize, usize)> = None;
    while at < value.len() {
        match (pattern.get(pattern_at), value.get(at)) {
            (Some(Piece::Any), _) => {
                last_any = Some((pattern_at + 1, at));
                pattern_at += 1;
            }
            (Some(Piece::One), Some(_)) => {
                (at, pattern_at) = (at + 1, pattern_at + 1);
            }
            (Some(Piece::Char(wanted)), Some(found)) if wanted == found => {
                (at, pattern_at) = (at + 1, pattern_at + 1);
            }
            _ => match &mut last_any {
                Some((after, taken)) => {
                    *taken += 1;
                    (at, pattern_at) = (*taken, *after);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(pattern_at).all(|piece| *piece == Piece::Any)
}

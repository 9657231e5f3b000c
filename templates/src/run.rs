//! The state of one evaluation: values, problems found so far, and a budget that bounds its memory.
use crate::check::{CERTIFICATE_ID, Read, Reported};
use crate::expression::{Expression, Find, Index, Kind, List, ListKind, Piece, parse_index};
use crate::mappings::{MapValue, Mappings};
use crate::names::NameError;
use crate::nearest::quoted;
use crate::parameters::{Declarations, JITP_PARAMETERS, MAX_VALUE};
use crate::place::Place;
use crate::problem::{EvaluationProblem, ProblemKind};
use crate::template::{Caller, Parameters};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The text that all functions of one evaluation may produce together, in bytes. A template of 10 kB could
/// otherwise multiply its parameters by thousands.
const BUDGET: usize = 1 << 20;
/// What an element of a list costs besides its text.
const ELEMENT_COST: usize = 32;

pub(crate) struct Run<'t> {
    caller: Caller,
    declarations: &'t Declarations,
    mappings: &'t Mappings,
    values: &'t Parameters,
    resource: Option<&'t str>,
    budget: usize,
    /// Places are written out only for the problems that are reported.
    pub(crate) problems: Vec<(Place, EvaluationProblem)>,
}

impl<'t> Run<'t> {
    pub(crate) fn new(
        caller: Caller,
        declarations: &'t Declarations,
        mappings: &'t Mappings,
        values: &'t Parameters,
    ) -> Self {
        Self { caller, declarations, mappings, values, resource: None, budget: BUDGET, problems: Vec::new() }
    }

    /// Problems from here on belong to that resource, or to none.
    pub(crate) fn enter_resource(&mut self, logical_name: Option<&'t str>) {
        self.resource = logical_name;
    }

    pub(crate) fn fail(&mut self, kind: ProblemKind, place: &Place, message: impl Into<String>) -> Reported {
        self.record(kind, place, None, message.into())
    }

    /// Values that are too long, and in JITP declared parameters without a value that no reference would
    /// reveal.
    pub(crate) fn check_declared(&mut self, referenced: &BTreeMap<String, usize>) {
        for (name, declaration) in self.declarations.in_order() {
            if self.values.get(name).is_some_and(|value| is_longer_than(value, MAX_VALUE)) {
                let message =
                    format!("the value of {} has more than {MAX_VALUE} characters: shorten it", quoted(name));
                self.record(ProblemKind::TooLong, &declaration.place, Some(name), message);
            }
            if self.caller == Caller::Jitp && !referenced.contains_key(name) {
                // In JITP every declared parameter must have a value (spec/jitp.md section 6).
                let _ = self.parameter(&declaration.place, name);
            }
        }
    }

    /// A property that must satisfy a name's rule.
    pub(crate) fn name<T>(
        &mut self,
        expression: &'t Expression,
        kind: ProblemKind,
        check: impl Fn(&str) -> Result<T, NameError>,
    ) -> Read<T> {
        let text = self.text(expression)?;
        check(&text).map_err(|error| self.fail(kind, &expression.place, error.to_string()))
    }

    /// A property of bounded length, in characters.
    pub(crate) fn bounded(&mut self, expression: &'t Expression, what: &str, max: usize) -> Read<String> {
        let text = self.text(expression)?;
        if is_longer_than(&text, max) {
            let message = format!("{what} has more than {max} characters");
            return Err(self.fail(ProblemKind::TooLong, &expression.place, message));
        }
        Ok(text.into_owned())
    }

    pub(crate) fn text(&mut self, expression: &'t Expression) -> Read<Cow<'t, str>> {
        let place = &expression.place;
        match &expression.kind {
            Kind::Literal(text) => Ok(Cow::Borrowed(text)),
            Kind::Reference(name) => Ok(Cow::Borrowed(self.parameter(place, name)?)),
            Kind::Join { delimiter, list } => {
                let items = self.list(list)?;
                self.join(place, delimiter, &items)
            }
            Kind::Select { index, list } => {
                let index = self.index(place, index);
                let items = self.elements(list);
                self.select(place, index?, items?)
            }
            Kind::Find(find) => match self.find(find)? {
                MapValue::Text(text) => Ok(Cow::Borrowed(text)),
                MapValue::List(_) => {
                    let message = "Fn::FindInMap finds a list here, and a string is needed";
                    Err(self.fail(ProblemKind::FunctionFailed, place, message))
                }
            },
            Kind::Substitute { pieces, local } => {
                let local: Vec<Read<Cow<'t, str>>> = local.iter().map(|value| self.text(value)).collect();
                let local: Read<Vec<Cow<'t, str>>> = local.into_iter().collect();
                self.substitute(place, pieces, local)
            }
        }
    }

    /// A list without nulls.
    pub(crate) fn list(&mut self, list: &'t List) -> Read<Vec<Cow<'t, str>>> {
        let elements = self.elements(list)?;
        let whole: Option<Vec<_>> = elements.into_iter().collect();
        whole.ok_or_else(|| {
            self.fail(ProblemKind::FunctionFailed, &list.place, "an element of this list is null")
        })
    }

    fn elements(&mut self, list: &'t List) -> Read<Vec<Option<Cow<'t, str>>>> {
        match &list.kind {
            ListKind::Items(items) => {
                let elements: Vec<Read<Option<Cow<'t, str>>>> = items
                    .iter()
                    .map(|item| item.as_ref().map(|value| self.text(value)).transpose())
                    .collect();
                elements.into_iter().collect()
            }
            ListKind::Split { delimiter, text } => {
                let text = self.text(text)?;
                let fields = text.matches(delimiter.as_str()).count() + 1;
                self.spend(&list.place, text.len().saturating_add(fields.saturating_mul(ELEMENT_COST)))?;
                Ok(match text {
                    Cow::Borrowed(text) => {
                        text.split(delimiter.as_str()).map(|field| Some(Cow::Borrowed(field))).collect()
                    }
                    Cow::Owned(text) => text
                        .split(delimiter.as_str())
                        .map(|field| Some(Cow::Owned(field.to_owned())))
                        .collect(),
                })
            }
            ListKind::Find(find) => match self.find(find)? {
                MapValue::List(items) => {
                    Ok(items.iter().map(|item| Some(Cow::Borrowed(item.as_str()))).collect())
                }
                MapValue::Text(_) => {
                    let message = "Fn::FindInMap finds a string here, and a list is needed";
                    Err(self.fail(ProblemKind::FunctionFailed, &list.place, message))
                }
            },
        }
    }

    /// Supplied value, then default, then a problem (`spec/templates.md` section 2).
    fn parameter(&mut self, place: &Place, name: &str) -> Read<&'t str> {
        let supplied = self.values.get(name).map(String::as_str);
        // An empty subject attribute counts as missing (spec/jitp.md section 6).
        let supplied = supplied.filter(|value| !value.is_empty() || !JITP_PARAMETERS.contains(&name));
        if let Some(value) = supplied.or_else(|| self.declarations.default_of(name)) {
            return Ok(value);
        }
        let message = match (self.caller, name.rsplit_once("::")) {
            (Caller::Jitp, Some((_, attribute)))
                if name != CERTIFICATE_ID && JITP_PARAMETERS.contains(&name) =>
            {
                format!(
                    "the certificate has no {attribute} in its subject, \
                and the parameter {name:?} has no \"Default\": \
                 issue certificates with it or add a default"
                )
            }
            (_, Some(_)) if name.starts_with("AWS::") => {
                format!("the broker has no value for {} here, and it has no \"Default\"", quoted(name))
            }
            _ => format!(
                "the parameter {} has no value and no \"Default\": supply it or add a default",
                quoted(name)
            ),
        };
        Err(self.record(ProblemKind::MissingParameter, place, Some(name), message))
    }

    fn join(&mut self, place: &Place, delimiter: &str, items: &[Cow<'t, str>]) -> Read<Cow<'t, str>> {
        let texts = items.iter().fold(0, |sum: usize, item| sum.saturating_add(item.len()));
        let gaps = items.len().saturating_sub(1).saturating_mul(delimiter.len());
        self.spend(place, texts.saturating_add(gaps))?;
        Ok(Cow::Owned(items.join(delimiter)))
    }

    fn index(&mut self, place: &Place, index: &'t Index) -> Read<i64> {
        match index {
            Index::Literal(index) => Ok(*index),
            Index::Value(expression) => {
                let text = self.text(expression)?;
                parse_index(&text).ok_or_else(|| {
                    let message = format!("the index of Fn::Select is {}, not a whole number", quoted(&text));
                    self.fail(ProblemKind::FunctionFailed, place, message)
                })
            }
        }
    }

    fn select(&mut self, place: &Place, index: i64, items: Vec<Option<Cow<'t, str>>>) -> Read<Cow<'t, str>> {
        let count = items.len();
        let selected = usize::try_from(index).ok().and_then(|index| items.into_iter().nth(index));
        let message = match selected {
            Some(Some(text)) => return Ok(text),
            Some(None) => format!("Fn::Select takes element {index}, which is null"),
            None if index < 0 => format!("Fn::Select takes element {index}; the first one is 0"),
            None => format!("Fn::Select takes element {index} of a list of {count}; the first one is 0"),
        };
        Err(self.fail(ProblemKind::FunctionFailed, place, message))
    }

    fn find(&mut self, find: &'t Find) -> Read<&'t MapValue> {
        let map = self.text(&find.map);
        let top = self.text(&find.top);
        let second = self.text(&find.second);
        let (map, top, second) = (map?, top?, second?);
        self.mappings.find(&map, &top, &second).map_err(|missing| {
            let (place, message) = find.explain(&missing, &map, Some(&top), Some(&second));
            self.fail(ProblemKind::FunctionFailed, place, message)
        })
    }

    fn substitute(
        &mut self,
        place: &Place,
        pieces: &'t [Piece],
        local: Read<Vec<Cow<'t, str>>>,
    ) -> Read<Cow<'t, str>> {
        let mut parts: Vec<Read<&str>> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            parts.push(match piece {
                Piece::Text(text) => Ok(text),
                Piece::Parameter(name) => self.parameter(place, name),
                Piece::Local(index) => local
                    .as_ref()
                    .ok()
                    .and_then(|values| values.get(*index))
                    .map(|value| &**value)
                    .ok_or(Reported),
            });
        }
        let parts: Vec<&str> = parts.into_iter().collect::<Read<_>>()?;
        if local.is_err() {
            return Err(Reported);
        }
        self.spend(place, parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.len())))?;
        Ok(Cow::Owned(parts.concat()))
    }

    /// Takes from the budget before the memory is allocated.
    fn spend(&mut self, place: &Place, bytes: usize) -> Read<()> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => {
                let message = format!(
                    "the functions of this template produce more than {BUDGET} bytes for these values"
                );
                Err(self.fail(ProblemKind::TooLong, place, message))
            }
        }
    }

    fn record(
        &mut self,
        kind: ProblemKind,
        place: &Place,
        parameter: Option<&str>,
        message: String,
    ) -> Reported {
        let problem = EvaluationProblem {
            kind,
            path: String::new(),
            resource: self.resource.map(str::to_owned),
            parameter: parameter.map(str::to_owned),
            message,
        };
        self.problems.push((place.clone(), problem));
        Reported
    }
}

/// Stops counting at the limit.
pub(crate) fn is_longer_than(text: &str, max: usize) -> bool {
    text.len() > max && text.chars().nth(max).is_some()
}

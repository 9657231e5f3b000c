//! Values with `Ref` and the functions: the grammar of `spec/templates.md` section 5.
use crate::check::{Check, Read, Reported};
use crate::json::{Node, Value};
use crate::mappings::{MapValue, NotFound};
use crate::nearest::{did_you_mean, quoted};
use crate::place::Place;
use crate::template::Caller;

/// Functions within each other, at most; `Ref` is a leaf and does not count.
const MAX_NESTING: usize = 10;

/// Yields one string.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(String),
    Reference(String),
    Join { delimiter: String, list: List },
    Select { index: Index, list: List },
    Find(Box<Find>),
    Substitute { pieces: Vec<Piece>, local: Vec<Expression> },
}

/// Yields a list of strings.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) place: Place,
    pub(crate) kind: ListKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ListKind {
    /// `None` is a null, which only `Fn::Select` takes.
    Items(Vec<Option<Expression>>),
    Split {
        delimiter: String,
        text: Box<Expression>,
    },
    Find(Box<Find>),
}

/// Map name, top key, second key.
#[derive(Debug, Clone)]
pub(crate) struct Find {
    pub(crate) map: Expression,
    pub(crate) top: Expression,
    pub(crate) second: Expression,
}

/// The index of `Fn::Select`. A literal one may be out of range: that is a failure of the run.
#[derive(Debug, Clone)]
pub(crate) enum Index {
    Literal(i64),
    Value(Box<Expression>),
}

/// A part of the text of `Fn::Sub`.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(String),
    Parameter(String),
    /// Index into the local values.
    Local(usize),
}

/// What may stand in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// A string, `Ref` or a function.
    Functions,
    /// A string or `Ref`.
    ReferenceOnly,
}

impl Expression {
    /// Reads the value of a property; `what` names it in messages.
    pub(crate) fn read(node: &Node, what: &str, allowed: Allowed, check: &mut Check<'_>) -> Read<Self> {
        Reader { what, allowed, check }.value(node, 0)
    }

    /// The text, if it stands for itself.
    pub(crate) fn literal(&self) -> Option<&str> {
        match &self.kind {
            Kind::Literal(text) => Some(text),
            _ => None,
        }
    }

    /// It is a `Ref` to that parameter.
    pub(crate) fn is_reference_to(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Reference(parameter) if parameter == name)
    }
}

impl List {
    /// Reads the value of a property that is a list of strings.
    pub(crate) fn read(node: &Node, what: &str, allowed: Allowed, check: &mut Check<'_>) -> Read<Self> {
        Reader { what, allowed, check }.list(node, 0, Nulls::Refused)
    }
}

const FUNCTIONS: [&str; 6] = ["Ref", "Fn::Join", "Fn::Select", "Fn::FindInMap", "Fn::Split", "Fn::Sub"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Refused,
    Kept,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Yields {
    Text,
    List,
}

struct Reader<'c, 'r> {
    what: &'c str,
    allowed: Allowed,
    check: &'c mut Check<'r>,
}

impl<'c> Reader<'c, '_> {
    fn value(&mut self, node: &Node, depth: usize) -> Read<Expression> {
        let place = node.place.clone();
        let Some((name, argument)) = node.call() else {
            return match &node.value {
                Value::Text(text) => Ok(Expression { place, kind: Kind::Literal(text.clone()) }),
                Value::Object(_) => Err(self.object_without_call(node, depth)),
                _ => Err(self.check.not_a_string(node, self.what(depth))),
            };
        };
        let kind = match name {
            "Ref" => self.reference(argument)?,
            _ => {
                let depth = self.enter(node, name, depth)?;
                match name {
                    "Fn::Join" => self.join(argument, depth)?,
                    "Fn::Select" => self.select(argument, depth)?,
                    "Fn::FindInMap" => Kind::Find(Box::new(self.find(argument, depth, Yields::Text)?)),
                    "Fn::Sub" => self.substitute(argument, depth)?,
                    "Fn::Split" => {
                        let message = "Fn::Split yields a list, and a string is needed here: \
                wrap it in Fn::Select or Fn::Join";
                        return Err(self.check.report(&argument.place, message));
                    }
                    _ => return Err(self.unknown_function(name, argument)),
                }
            }
        };
        Ok(Expression { place, kind })
    }

    fn list(&mut self, node: &Node, depth: usize, nulls: Nulls) -> Read<List> {
        let place = node.place.clone();
        let kind = match (&node.value, node.call()) {
            (Value::List(items), _) => {
                let mut read = Vec::with_capacity(items.len());
                for item in items {
                    read.push(match item.value {
                        Value::Null if nulls == Nulls::Kept => Ok(None),
                        _ => self.value(item, depth).map(Some),
                    });
                }
                ListKind::Items(read.into_iter().collect::<Read<_>>()?)
            }
            (_, Some(("Fn::Split", argument))) => {
                let depth = self.enter(node, "Fn::Split", depth)?;
                self.split(argument, depth)?
            }
            (_, Some(("Fn::FindInMap", argument))) => {
                let depth = self.enter(node, "Fn::FindInMap", depth)?;
                ListKind::Find(Box::new(self.find(argument, depth, Yields::List)?))
            }
            (_, Some((name, argument))) if !FUNCTIONS.contains(&name) => {
                return Err(self.unknown_function(name, argument));
            }
            (_, Some((name, argument))) => {
                let message = format!(
                    "{name} yields a string, and a list is needed here: put it in [ ] or use Fn::Split"
                );
                return Err(self.check.report(&argument.place, message));
            }
            _ => {
                let message =
                    format!("a list is needed here, not {}: write [ … ] or use Fn::Split", node.kind());
                return Err(self.check.report(&node.place, message));
            }
        };
        Ok(List { place, kind })
    }

    /// Whether a function may stand here; gives the depth of its arguments.
    fn enter(&mut self, node: &Node, name: &str, depth: usize) -> Read<usize> {
        if !FUNCTIONS.contains(&name) {
            return Ok(depth);
        }
        if self.allowed == Allowed::ReferenceOnly {
            let message = format!("{name} is not possible in {}: write a string or a Ref", self.what);
            return Err(self.check.report(&node.place, message));
        }
        let strict = self.check.rules.functions_in_fleet_only && self.check.rules.caller != Caller::Fleet;
        if strict && depth == 0 {
            let message = format!(
                "{name} is only possible in a fleet provisioning template (functions_in_fleet_only is set)"
            );
            self.check.report(&node.place, message);
        }
        if depth >= MAX_NESTING {
            let message = format!("functions are nested more than {MAX_NESTING} deep: flatten them");
            return Err(self.check.report(&node.place, message));
        }
        Ok(depth + 1)
    }

    fn reference(&mut self, argument: &Node) -> Read<Kind> {
        let name = self.check.literal(argument, "the name in Ref")?;
        self.check.reference(&argument.place, name)?;
        Ok(Kind::Reference(name.to_owned()))
    }

    fn join(&mut self, argument: &Node, depth: usize) -> Read<Kind> {
        let [delimiter, list] = self.arguments(argument, "Fn::Join needs [delimiter, list]")?;
        let delimiter = self.check.literal(delimiter, "the delimiter of Fn::Join").map(str::to_owned);
        let list = self.list(list, depth, Nulls::Refused);
        Ok(Kind::Join { delimiter: delimiter?, list: list? })
    }

    fn select(&mut self, argument: &Node, depth: usize) -> Read<Kind> {
        let [index, list] = self.arguments(argument, "Fn::Select needs [index, list]")?;
        let index = self.index(index, depth);
        let list = self.list(list, depth, Nulls::Kept);
        Ok(Kind::Select { index: index?, list: list? })
    }

    fn index(&mut self, node: &Node, depth: usize) -> Read<Index> {
        let text = match &node.value {
            Value::Number(text) | Value::Text(text) => text,
            _ if node.call().is_some() => return Ok(Index::Value(Box::new(self.value(node, depth)?))),
            _ => {
                let message = format!("the index of Fn::Select must be a whole number, not {}", node.kind());
                return Err(self.check.report(&node.place, message));
            }
        };
        parse_index(text).map(Index::Literal).ok_or_else(|| {
            let message =
                format!("the index of Fn::Select must be a whole number such as 0, not {}", quoted(text));
            self.check.report(&node.place, message)
        })
    }

    fn split(&mut self, argument: &Node, depth: usize) -> Read<ListKind> {
        let [delimiter, text] = self.arguments(argument, "Fn::Split needs [delimiter, text]")?;
        let literal = self.check.literal(delimiter, "the delimiter of Fn::Split").map(str::to_owned);
        let literal = match literal {
            Ok(empty) if empty.is_empty() => {
                Err(self.check.report(&delimiter.place, "the delimiter of Fn::Split must not be empty"))
            }
            other => other,
        };
        let text = self.value(text, depth);
        Ok(ListKind::Split { delimiter: literal?, text: Box::new(text?) })
    }

    fn find(&mut self, argument: &Node, depth: usize, yields: Yields) -> Read<Find> {
        let [map, top, second] =
            self.arguments(argument, "Fn::FindInMap needs [map, top key, second key]")?;
        let map = self.value(map, depth);
        let top = self.value(top, depth);
        let second = self.value(second, depth);
        let find = Find { map: map?, top: top?, second: second? };
        if self.check.mappings.is_empty() {
            let message = match self.check.rules.caller {
                Caller::Fleet => "Fn::FindInMap needs \"Mappings\", and this template has none: add them",
                _ => "Fn::FindInMap needs \"Mappings\", which only a fleet provisioning template can have",
            };
            return Err(self.check.report(&argument.place, message));
        }
        self.check_literal_keys(&find, yields)?;
        Ok(find)
    }

    /// As far as the keys are literal, they must exist, and lead to what is needed.
    fn check_literal_keys(&mut self, find: &Find, yields: Yields) -> Read<()> {
        let mappings = &self.check.mappings;
        let Some(map) = find.map.literal() else { return Ok(()) };
        let found = match (find.top.literal(), find.second.literal()) {
            (Some(top), Some(second)) => mappings.find(map, top, second).map(Some),
            (Some(top), None) => mappings.top(map, top).map(|_| None),
            (None, _) => mappings.map(map).map(|_| None),
        };
        let (place, message) = match (found, yields) {
            (Ok(Some(MapValue::List(_))), Yields::Text) => (
                &find.map.place,
                "this entry is a list, and a string is needed here: wrap it in Fn::Select or Fn::Join"
                    .to_owned(),
            ),
            (Ok(Some(MapValue::Text(_))), Yields::List) => {
                (&find.map.place, "this entry is a string, and a list is needed here".to_owned())
            }
            (Ok(_), _) => return Ok(()),
            (Err(missing), _) => find.explain(&missing, map, find.top.literal(), find.second.literal()),
        };
        let (place, message) = (place.clone(), message);
        Err(self.check.report(&place, message))
    }

    fn substitute(&mut self, argument: &Node, depth: usize) -> Read<Kind> {
        let (text, values) = match &argument.value {
            Value::Text(_) => (argument, None),
            Value::List(items) => match items.as_slice() {
                [text] => (text, None),
                [text, values] => (text, Some(values)),
                _ => {
                    return Err(
                        self.wrong_arguments(argument, "Fn::Sub needs a text or [text, {name: value}]")
                    );
                }
            },
            _ => return Err(self.wrong_arguments(argument, "Fn::Sub needs a text or [text, {name: value}]")),
        };
        let mut names: Vec<&str> = Vec::new();
        let mut local = Vec::new();
        for value in values
            .map(|node| self.check.object(node, "the values of Fn::Sub"))
            .transpose()?
            .unwrap_or_default()
        {
            names.push(&value.name);
            local.push(self.value(&value.node, depth));
        }
        let pieces = self.pieces(text, &names);
        Ok(Kind::Substitute { pieces: pieces?, local: local.into_iter().collect::<Read<_>>()? })
    }

    /// Cuts `a${Name}b${!kept}` into pieces.
    fn pieces(&mut self, node: &Node, local: &[&str]) -> Read<Vec<Piece>> {
        let mut rest = self.check.literal(node, "the text of Fn::Sub")?;
        let mut pieces = Vec::new();
        let mut faulty = None;
        while let Some((before, after)) = rest.split_once("${") {
            pieces.push(Piece::Text(before.to_owned()));
            let Some((name, after)) = after.split_once('}') else {
                return Err(self.check.report(&node.place, "\"${\" is not closed in Fn::Sub: add \"}\""));
            };
            rest = after;
            if let Some(kept) = name.strip_prefix('!') {
                pieces.push(Piece::Text(format!("${{{kept}}}")));
            } else if let Some(index) = local.iter().position(|known| *known == name) {
                pieces.push(Piece::Local(index));
            } else {
                match self.check.reference(&node.place, name) {
                    Ok(()) => pieces.push(Piece::Parameter(name.to_owned())),
                    Err(reported) => faulty = Some(reported),
                }
            }
        }
        pieces.push(Piece::Text(rest.to_owned()));
        faulty.map_or(Ok(pieces), Err)
    }

    fn arguments<'n, const N: usize>(&mut self, node: &'n Node, usage: &str) -> Read<[&'n Node; N]> {
        if let Value::List(items) = &node.value
            && let Ok(arguments) = <&[Node; N]>::try_from(items.as_slice())
        {
            return Ok(arguments.each_ref());
        }
        Err(self.wrong_arguments(node, usage))
    }

    /// What a message is about.
    fn what(&self, depth: usize) -> &'c str {
        if depth == 0 { self.what } else { "a value within a function" }
    }

    fn wrong_arguments(&mut self, node: &Node, usage: &str) -> Reported {
        let given = match &node.value {
            Value::List(items) => format!("a list of {}", items.len()),
            _ => node.kind().to_owned(),
        };
        self.check.report(&node.place, format!("{usage}, not {given}"))
    }

    fn unknown_function(&mut self, name: &str, argument: &Node) -> Reported {
        let hint = did_you_mean(
            name,
            FUNCTIONS,
            "; there are Fn::Join, Fn::Select, Fn::FindInMap, Fn::Split and Fn::Sub",
        );
        self.check.report(&argument.place, format!("unknown function {}{hint}", quoted(name)))
    }

    fn object_without_call(&mut self, node: &Node, depth: usize) -> Reported {
        let what = self.what(depth);
        let first = match &node.value {
            Value::Object(members) => members.first().map(|member| (&*member.name, members.len())),
            _ => None,
        };
        let message = match first {
            Some((name, 2..)) => format!(
                "{what} must be a string, a Ref or a function; a function is an object of \
                exactly one member, and this one has more than {}",
                quoted(name)
            ),
            Some((name, _)) => {
                let hint = did_you_mean(name, FUNCTIONS, "");
                format!("{what} must be a string, a Ref or a function; {} is none{hint}", quoted(name))
            }
            None => format!("{what} must be a string, a Ref or a function, not an empty object"),
        };
        self.check.report(&node.place, message)
    }
}

/// A decimal whole number, possibly negative. One that no i64 holds is out of every range: it is clamped.
pub(crate) fn parse_index(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
}

impl Find {
    /// Says which key is missing and which one was probably meant.
    pub(crate) fn explain<'f>(
        &'f self,
        missing: &NotFound<'_>,
        map: &str,
        top: Option<&str>,
        second: Option<&str>,
    ) -> (&'f Place, String) {
        let (place, what, key, known) = match missing {
            NotFound::Map(known) => (&self.map.place, "Mappings have no map".to_owned(), Some(map), known),
            NotFound::TopKey(known) => {
                (&self.top.place, format!("the map {} has no key", quoted(map)), top, known)
            }
            NotFound::SecondKey(known) => {
                let entry = quoted(top.unwrap_or_default());
                (
                    &self.second.place,
                    format!("the entry {entry} of the map {} has no key", quoted(map)),
                    second,
                    known,
                )
            }
        };
        let key = key.unwrap_or_default();
        let hint = did_you_mean(key, known.iter().copied(), ": add it to \"Mappings\"");
        (place, format!("{what} {}{hint}", quoted(key)))
    }
}

//! The state of one validation: the rules, what the template declares, and the problems found so far.
use crate::json::{Member, Node, Value, member};
use crate::mappings::Mappings;
use crate::nearest::{did_you_mean, nearest, quoted};
use crate::parameters::Declarations;
use crate::place::Place;
use crate::template::{Caller, Rules};
use std::collections::{BTreeMap, BTreeSet};

/// The problem has been recorded; whoever gets this has nothing to add.
#[derive(Debug)]
pub(crate) struct Reported;

/// What reading a part of a template gives.
pub(crate) type Read<T> = Result<T, Reported>;

pub(crate) struct Check<'r> {
    pub(crate) rules: Rules<'r>,
    pub(crate) declarations: Declarations,
    pub(crate) mappings: Mappings,
    pub(crate) logical_names: BTreeSet<String>,
    /// Referenced parameters, with the offset of the first reference.
    pub(crate) referenced: BTreeMap<String, usize>,
    /// Places are written out only for the problems that are reported.
    pub(crate) problems: Vec<(Place, String)>,
}

impl<'r> Check<'r> {
    pub(crate) fn new(rules: Rules<'r>) -> Self {
        Self {
            rules,
            declarations: Declarations::default(),
            mappings: Mappings::default(),
            logical_names: BTreeSet::new(),
            referenced: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Records a problem.
    pub(crate) fn report(&mut self, place: &Place, message: impl Into<String>) -> Reported {
        self.problems.push((place.clone(), message.into()));
        Reported
    }

    /// The members of an object whose member names are free.
    pub(crate) fn object<'n>(&mut self, node: &'n Node, what: &str) -> Read<&'n [Member]> {
        match &node.value {
            Value::Object(members) => Ok(members),
            _ => Err(self.report(&node.place, format!("{what} must be an object, not {}", node.kind()))),
        }
    }

    /// The members of an object of which only `known` are legal; others are reported, not fatal.
    pub(crate) fn record<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Read<&'n [Member]> {
        let members = self.object(node, what)?;
        self.refuse_unknown(members, what, known, &[]);
        Ok(members)
    }

    /// Reports members that are neither `known` nor reported by somebody else (`handled`).
    pub(crate) fn refuse_unknown(
        &mut self,
        members: &[Member],
        what: &str,
        known: &[&str],
        handled: &[&str],
    ) {
        for unknown in members {
            if known.contains(&&*unknown.name) || handled.contains(&&*unknown.name) {
                continue;
            }
            let otherwise = format!("; {what} may have {}", list(known));
            let hint = did_you_mean(&unknown.name, known.iter().copied(), &otherwise);
            self.report(&unknown.node.place, format!("unknown member {}{hint}", quoted(&unknown.name)));
        }
    }

    /// A member that must be there. Silent when a misspelt one has been reported in its stead.
    pub(crate) fn required<'n>(
        &mut self,
        node: &Node,
        members: &'n [Member],
        name: &str,
        known: &[&str],
    ) -> Read<&'n Node> {
        if let Some(found) = member(members, name) {
            return Ok(found);
        }
        let misspelt = |other: &Member| {
            !known.contains(&&*other.name) && nearest(&other.name, known.iter().copied()) == Some(name)
        };
        if members.iter().any(misspelt) {
            return Err(Reported);
        }
        Err(self.report(&node.place, format!("the member {name:?} is missing: add it")))
    }

    /// A string that stands for itself.
    pub(crate) fn literal<'n>(&mut self, node: &'n Node, what: &str) -> Read<&'n str> {
        match &node.value {
            Value::Text(text) => Ok(text),
            _ if node.call().is_some() => Err(self.report(
                &node.place,
                format!("{what} must be a literal string: no Ref or function is possible here"),
            )),
            _ => Err(self.not_a_string(node, what)),
        }
    }

    /// Says what to write instead of something that is not a string.
    pub(crate) fn not_a_string(&mut self, node: &Node, what: &str) -> Reported {
        let hint = match &node.value {
            Value::Number(text) if text.len() <= 40 => format!(": write \"{text}\" in double quotes"),
            Value::Bool(value) => format!(": write \"{value}\" in double quotes"),
            _ => String::new(),
        };
        self.report(&node.place, format!("{what} must be a string, not {}{hint}", node.kind()))
    }

    /// Notes a reference to a parameter, which must exist.
    pub(crate) fn reference(&mut self, place: &Place, name: &str) -> Read<()> {
        if self.declarations.contains(name) || (self.rules.caller == Caller::Fleet && name == CERTIFICATE_ID)
        {
            self.referenced.entry(name.to_owned()).or_insert(place.offset());
            return Ok(());
        }
        let quoted_name = quoted(name);
        let message = if self.logical_names.contains(name) {
            format!("{quoted_name} is a resource; only a parameter can be referenced")
        } else if let Some(near) = nearest(name, self.declarations.names()) {
            format!("the parameter {quoted_name} is not declared: did you mean {near:?}?")
        } else if name.starts_with("iot:") || name.starts_with("aws:") {
            format!(
                "{quoted_name} is a policy variable, not a parameter: \
                in Fn::Sub write ${{!{name}}} to keep it"
            )
        } else {
            format!(
                "the parameter {quoted_name} is not declared: \
                add it to \"Parameters\" as {{\"Type\": \"String\"}}"
            )
        };
        Err(self.report(place, message))
    }
}

/// The pseudo-parameter that names the certificate at hand.
pub(crate) const CERTIFICATE_ID: &str = "AWS::IoT::Certificate::Id";

/// `"A", "B" and "C"`.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [] => "no members".to_owned(),
        [only] => format!("only {only:?}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("{name:?}")).collect();
            format!("{} and {last:?}", first.join(", "))
        }
    }
}

//! `Parameters`: what a template declares (`spec/templates.md` section 2, `spec/jitp.md` section 6).
use crate::check::Check;
use crate::json::{Node, member};
use crate::nearest::{nearest, quoted};
use crate::place::Place;
use crate::template::Caller;
use std::collections::BTreeMap;

/// A parameter's name has at most this many characters.
const MAX_NAME: usize = 2048;
/// A parameter's value has at most this many characters.
pub(crate) const MAX_VALUE: usize = 4096;

/// The parameters by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declarations(BTreeMap<String, Declaration>);

#[derive(Debug, Clone)]
pub(crate) struct Declaration {
    pub(crate) place: Place,
    pub(crate) default: Option<String>,
}

impl Declarations {
    /// Reads the member `Parameters`. A faulty declaration still counts as declared.
    pub(crate) fn read(node: &Node, check: &mut Check<'_>) -> Self {
        let mut declared = BTreeMap::new();
        for parameter in check.object(node, "\"Parameters\"").unwrap_or_default() {
            let place = parameter.node.place.clone();
            if parameter.name.chars().nth(MAX_NAME).is_some() {
                check.report(
                    &place,
                    format!("the name of a parameter has at most {MAX_NAME} characters: shorten it"),
                );
            }
            let default = read_default(&parameter.node, check);
            if check.rules.caller == Caller::Jitp && default.is_none() {
                refuse_unless_filled_by_jitp(&parameter.name, &place, check);
            }
            declared.insert(parameter.name.to_string(), Declaration { place, default });
        }
        Self(declared)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn default_of(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|declaration| declaration.default.as_deref())
    }

    /// In document order.
    pub(crate) fn in_order(&self) -> Vec<(&str, &Declaration)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, declaration)| (name.as_str(), declaration)).collect();
        all.sort_by_key(|(_, declaration)| declaration.place.offset());
        all
    }
}

/// Checks one declaration; gives its default, or an empty one if it is faulty.
fn read_default(node: &Node, check: &mut Check<'_>) -> Option<String> {
    const KNOWN: [&str; 2] = ["Type", "Default"];
    let members = check.record(node, "a parameter", &KNOWN).ok()?;
    if let Ok(kind) = check.required(node, members, "Type", &KNOWN)
        && let Ok(text) = check.literal(kind, "\"Type\" of a parameter")
        && text != "String"
    {
        check.report(
            &kind.place,
            format!("the type {} does not exist: write \"String\", the only one", quoted(text)),
        );
    }
    let default = member(members, "Default")?;
    let text = check.literal(default, "\"Default\"").unwrap_or_default();
    if text.chars().nth(MAX_VALUE).is_some() {
        check.report(&default.place, format!("a default has at most {MAX_VALUE} characters: shorten it"));
    }
    Some(text.to_owned())
}

/// The parameters that the broker fills from a certificate, in the order of `spec/jitp.md` section 6.
pub(crate) const JITP_PARAMETERS: [&str; 8] = [
    "AWS::IoT::Certificate::Country",
    "AWS::IoT::Certificate::Organization",
    "AWS::IoT::Certificate::OrganizationalUnit",
    "AWS::IoT::Certificate::DistinguishedNameQualifier",
    "AWS::IoT::Certificate::StateName",
    "AWS::IoT::Certificate::CommonName",
    "AWS::IoT::Certificate::SerialNumber",
    "AWS::IoT::Certificate::Id",
];

fn refuse_unless_filled_by_jitp(name: &str, place: &Place, check: &mut Check<'_>) {
    if JITP_PARAMETERS.contains(&name) {
        return;
    }
    let message = match nearest(name, JITP_PARAMETERS) {
        Some(near) => format!(
            "{} never gets a value in just-in-time provisioning: did you mean {near:?}?",
            quoted(name)
        ),
        None => format!(
            "{} never gets a value in just-in-time provisioning: give it a \"Default\", or use one of {}",
            quoted(name),
            JITP_PARAMETERS.join(", ")
        ),
    };
    check.report(place, message);
}

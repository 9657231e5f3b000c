//! A policy document.
use crate::action::ActionSet;
use crate::condition::{Condition, Test};
use crate::glob::Pattern;
use crate::json::Json;
use crate::key::Key;
use crate::operator::Comparison;
use crate::template::{Template, Unresolved};
use crate::values::Values;
use std::sync::Arc;

/// Why a text is not a policy document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct DocumentError {
    /// JSON path: `$.Statement[0].Effect`.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// A parsed policy document (`spec/policies.md` section 1).
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    statements: Box<[Rule]>,
}

impl Document {
    /// Most characters, white space not counted.
    pub const MAX_CHARACTERS: usize = 2048;

    /// Parses and validates.
    ///
    /// # Errors
    /// Where the text is no JSON, is longer than [`Self::MAX_CHARACTERS`], or is not what
    /// `spec/policies.md` section 1 describes. Unknown actions and odd ARNs are accepted; they match nothing.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let root = At::root();
        let characters = text.chars().filter(|character| !character.is_whitespace()).count();
        if characters > Self::MAX_CHARACTERS {
            return Err(root.error(format!(
                "the document has {characters} characters without white space, {} are allowed; \
                 use shorter patterns or split it into two policies",
                Self::MAX_CHARACTERS
            )));
        }
        let json =
            Json::parse(text).map_err(|error| root.error(format!("this is not valid JSON: {error}")))?;
        let members = root.members(&json, "a document", &["Version", "Statement"])?;
        let expand = match members.string("Version")? {
            Some("2012-10-17") => true,
            Some("2008-10-17") => false,
            Some(other) => {
                return Err(members
                    .at("Version")
                    .error(format!("{other:?} is no version; write \"2012-10-17\"")));
            }
            None => return Err(root.error("`Version` is missing; write \"Version\": \"2012-10-17\"")),
        };
        let Some(statements) = members.get("Statement") else {
            return Err(root.error("`Statement` is missing; write an array with at least one statement"));
        };
        let at = members.at("Statement");
        let statements = match statements {
            Json::Array(array) if array.is_empty() => {
                return Err(at.error("there is no statement; write at least one"));
            }
            Json::Array(array) => {
                let elements = array.iter().enumerate();
                elements
                    .map(|(index, json)| Rule::parse(json, &at.element(index), expand))
                    .collect::<Result<_, _>>()?
            }
            Json::Object(_) => [Rule::parse(statements, &at, expand)?].into(),
            other => return Err(at.mismatch(other, "an object or an array of objects")),
        };
        Ok(Self { statements })
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.statements
    }

    /// Every key that the document refers to, as variable or in a condition.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.statements.iter().flat_map(Rule::keys)
    }
}

/// A statement as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) sid: Option<Arc<str>>,
    pub(crate) deny: bool,
    pub(crate) actions: ActionSet,
    pub(crate) resources: Box<[Template]>,
    /// `NotResource`: it applies where no resource matches.
    pub(crate) inverted: bool,
    pub(crate) conditions: Box<[Condition]>,
}

impl Rule {
    fn parse(json: &Json, at: &At, expand: bool) -> Result<Self, DocumentError> {
        const MEMBERS: [&str; 6] = ["Sid", "Effect", "Action", "Resource", "NotResource", "Condition"];
        let members = at.members(json, "a statement", &MEMBERS)?;
        let deny = match members.string("Effect")? {
            Some("Allow") => false,
            Some("Deny") => true,
            Some(other) => {
                let message = format!("{other:?} is no effect; write \"Allow\" or \"Deny\"");
                return Err(members.at("Effect").error(message));
            }
            None => {
                return Err(
                    at.error("`Effect` is missing; write \"Effect\": \"Allow\" or \"Effect\": \"Deny\"")
                );
            }
        };
        let Some(actions) = members.get("Action") else {
            return Err(at.error("`Action` is missing; write for example \"Action\": \"iot:Publish\""));
        };
        let actions = strings(actions, &members.at("Action"))?
            .into_iter()
            .fold(ActionSet::default(), |set, pattern| set.union(ActionSet::named_by(pattern)));
        let (name, resources, inverted) = match (members.get("Resource"), members.get("NotResource")) {
            (Some(resources), None) => ("Resource", resources, false),
            (None, Some(resources)) => ("NotResource", resources, true),
            (Some(_), Some(_)) => {
                return Err(at.error("there are both `Resource` and `NotResource`; keep one of them"));
            }
            (None, None) => {
                return Err(at.error("`Resource` is missing; write an ARN, or \"*\" for every resource"));
            }
        };
        let resources = strings(resources, &members.at(name))?;
        let resources = resources.into_iter().map(|source| Template::resource(source, expand)).collect();
        let conditions = match members.get("Condition") {
            Some(condition) => conditions(condition, &members.at("Condition"), expand)?.into(),
            None => Box::default(),
        };
        let sid = members.string("Sid")?.map(Arc::from);
        Ok(Self { sid, deny, actions, resources, inverted, conditions })
    }

    /// Every key that the statement refers to, as variable or in a condition.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        let resources = self.resources.iter().flat_map(Template::keys);
        resources.chain(self.conditions.iter().flat_map(Condition::keys))
    }

    /// The actions for which all conditions hold.
    pub(crate) fn actions_in_force(&self, values: &Values) -> ActionSet {
        let connect = ActionSet::of(crate::Action::Connect);
        let hold = |connecting| self.conditions.iter().all(|condition| condition.holds(values, connecting));
        let mut actions = self.actions;
        if !actions.intersection(connect).is_empty() && !hold(true) {
            actions = actions.without(connect);
        }
        if !actions.without(connect).is_empty() && !hold(false) {
            actions = actions.intersection(connect);
        }
        actions
    }

    /// The resources after substitution. `None` if unresolved variables keep the statement from applying at all:
    /// in every pattern of `Resource`, or in one of `NotResource`.
    pub(crate) fn patterns(&self, values: &Values) -> Option<Vec<Pattern>> {
        let patterns = self.resources.iter().map(|template| {
            let pattern = template.pattern(values)?;
            Ok(if values.any_region() { pattern.of_any_region() } else { pattern })
        });
        if self.inverted {
            return patterns.collect::<Result<_, Unresolved>>().ok();
        }
        let resolved: Vec<Pattern> = patterns.flatten().collect();
        (!resolved.is_empty()).then_some(resolved)
    }
}

fn conditions(json: &Json, at: &At, expand: bool) -> Result<Vec<Condition>, DocumentError> {
    let mut conditions = Vec::new();
    for (operator, keys) in at.object(json, "an object of operators")? {
        let at = at.member(operator);
        let test = Test::parse(operator).map_err(|message| at.error(message))?;
        for (key, values) in at.object(keys, "an object of condition keys")? {
            let values = operands(values, &at.member(key), test.operator.comparison, expand)?;
            conditions.push(Condition { test, key: Key::parse(key), values });
        }
    }
    Ok(conditions)
}

/// The values of a condition. What does not depend on the connection must have the form that the operator compares.
fn operands(
    json: &Json,
    at: &At,
    comparison: Comparison,
    expand: bool,
) -> Result<Box<[Template]>, DocumentError> {
    let operand = |json: &Json, at: &At| {
        let template = match json {
            Json::String(text) => Template::value(text, expand),
            Json::Bool(value) => Template::value(&value.to_string(), expand),
            Json::Number(number) => Template::value(&number.to_string(), expand),
            other => return Err(at.mismatch(other, "a string, a boolean or a number")),
        };
        if !template.is_variable() {
            comparison
                .operand(&template, &Values::default())
                .map_err(|unusable| at.error(unusable.to_string()))?;
        }
        Ok(template)
    };
    match json {
        Json::Array(array) => {
            array.iter().enumerate().map(|(index, json)| operand(json, &at.element(index))).collect()
        }
        single => Ok([operand(single, at)?].into()),
    }
}

/// A string or an array of at least one.
fn strings<'j>(json: &'j Json, at: &At) -> Result<Vec<&'j str>, DocumentError> {
    match json {
        Json::String(text) => Ok(vec![text]),
        Json::Array(array) if array.is_empty() => {
            Err(at.error("the array is empty; write at least one string"))
        }
        Json::Array(array) => array
            .iter()
            .enumerate()
            .map(|(index, json)| match json {
                Json::String(text) => Ok(text.as_str()),
                other => Err(at.element(index).mismatch(other, "a string")),
            })
            .collect(),
        other => Err(at.mismatch(other, "a string or an array of strings")),
    }
}

/// A place in the document.
struct At(String);

impl At {
    fn root() -> Self {
        Self("$".to_owned())
    }

    fn member(&self, name: &str) -> Self {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        Self(if plain { format!("{}.{name}", self.0) } else { format!("{}[{name:?}]", self.0) })
    }

    fn element(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn error(&self, message: impl Into<String>) -> DocumentError {
        DocumentError { path: self.0.clone(), message: message.into() }
    }

    fn mismatch(&self, found: &Json, wanted: &str) -> DocumentError {
        self.error(format!("this is {}; write {wanted}", found.type_name()))
    }

    /// The members of an object, each of them once.
    fn object<'j>(&self, json: &'j Json, wanted: &str) -> Result<&'j [(String, Json)], DocumentError> {
        let Json::Object(members) = json else { return Err(self.mismatch(json, wanted)) };
        let mut names = std::collections::BTreeSet::new();
        match members.iter().find(|(name, _)| !names.insert(name)) {
            Some((name, _)) => Err(self.member(name).error("this member is there twice; keep one of them")),
            None => Ok(members),
        }
    }

    /// The members of an object that has only known ones.
    fn members<'j>(&self, json: &'j Json, what: &str, known: &[&str]) -> Result<Members<'j>, DocumentError> {
        let members = self.object(json, "an object")?;
        match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(self.member(name).error(match name.as_str() {
                "Principal" | "NotPrincipal" => {
                    format!("`{name}` is not allowed: a policy applies to whom it is attached to; remove it")
                }
                "NotAction" => "`NotAction` is not supported; name the actions in `Action`".to_owned(),
                _ => format!("unknown member; {what} has {}", known.join(", ")),
            })),
            None => Ok(Members { at: Self(self.0.clone()), members }),
        }
    }
}

struct Members<'j> {
    at: At,
    members: &'j [(String, Json)],
}

impl<'j> Members<'j> {
    fn get(&self, name: &str) -> Option<&'j Json> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, json)| json)
    }

    fn at(&self, name: &str) -> At {
        self.at.member(name)
    }

    fn string(&self, name: &str) -> Result<Option<&'j str>, DocumentError> {
        match self.get(name) {
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.at(name).mismatch(other, "a string")),
            None => Ok(None),
        }
    }
}

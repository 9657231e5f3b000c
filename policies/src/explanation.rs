//! Decisions with their reasons, for people.
use crate::action::{ActionSet, ResourceKind};
use crate::document::Rule;
use crate::glob::Pattern;
use crate::template::Template;
use crate::{Action, Decision, Permissions, Statement};
use serde_json::{Value, json};
use std::fmt::{self, Write as _};

/// An Allow statement for the action that did not apply, and why. `reason` is for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NearMiss {
    pub statement: Statement,
    pub reason: String,
}

/// A decision with what was missing, for logs, `jitp` and the API; not for the hot path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Explanation {
    pub action: Action,
    /// Whole ARN.
    pub resource: String,
    pub allowed: bool,
    /// The statement that allowed or explicitly denied.
    pub decided_by: Option<Statement>,
    /// Empty if a statement decided; at most [`Self::MAX_NEAR_MISSES`], in the order of the policies.
    pub near_misses: Vec<NearMiss>,
}

impl Explanation {
    /// Most near misses of one explanation.
    pub const MAX_NEAR_MISSES: usize = 32;

    /// `shared` is the filter without `$share/<group>/`.
    pub(crate) fn of(permissions: &Permissions, action: Action, name: &str, shared: Option<&str>) -> Self {
        let prefix = action.kind().resource_prefix(permissions.arn_prefix());
        let resource = |name: &str| match action.kind() {
            ResourceKind::Everything => prefix.clone(),
            _ => format!("{prefix}{name}"),
        };
        let (allowed, decided_by) = match permissions.decide(action, name) {
            Decision::Allowed { by } => (true, Some(by.clone())),
            Decision::Denied { by } => (false, Some(by.clone())),
            Decision::NotAllowed => (false, None),
        };
        let request = Request {
            permissions,
            action,
            resources: std::iter::once(name).chain(shared).map(resource).collect(),
        };
        let near_misses = match decided_by {
            Some(_) => Vec::new(),
            None => permissions
                .rules()
                .filter(|(_, rule)| !rule.deny && rule.actions.contains(action))
                .take(Self::MAX_NEAR_MISSES)
                .map(|(statement, rule)| NearMiss { statement, reason: request.why_not(rule) })
                .collect(),
        };
        Self { action, resource: resource(name), allowed, decided_by, near_misses }
    }
}

impl fmt::Display for Explanation {
    /// One line: what was asked, the answer, by which statement or what was missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let mut f = OneLine(f);
        write!(f, "{} on {} is ", self.action.name(), self.resource)?;
        match (&self.decided_by, self.allowed) {
            (Some(statement), true) => return write!(f, "allowed by {}", Named(statement)),
            (Some(statement), false) => return write!(f, "explicitly denied by {}", Named(statement)),
            (None, _) => f.write_str("not allowed: ")?,
        }
        if self.near_misses.is_empty() {
            return write!(f, "no statement allows {}", self.action.name());
        }
        for (index, NearMiss { statement, reason }) in self.near_misses.iter().take(SHOWN).enumerate() {
            write!(f, "{}{}: {reason}", if index == 0 { "" } else { "; " }, Named(statement))?;
        }
        match self.near_misses.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// `statement "own" of policy devices version 3`.
struct Named<'s>(&'s Statement);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statement { policy, version, sid, index } = self.0;
        match sid {
            Some(sid) => write!(f, "statement \"{sid}\"")?,
            None => write!(f, "statement {index}")?,
        }
        write!(f, " of policy {policy} version {version}")
    }
}

/// Names and values come from outside: a line feed in one must not end the line of a log.
struct OneLine<'f, 'b>(&'f mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| match character {
            '\u{2028}' | '\u{2029}' => write!(self.0, "{}", character.escape_default()),
            character if character.is_control() => write!(self.0, "{}", character.escape_default()),
            character => self.0.write_char(character),
        })
    }
}

/// See [`Permissions::describe`].
pub(crate) fn describe(permissions: &Permissions) -> Value {
    let values = permissions.values();
    let (mut applicable, mut not_applicable) = (Vec::new(), Vec::new());
    for (statement, rule) in permissions.rules() {
        let mut object = json!({
            "policy": &*statement.policy,
            "version": statement.version,
            "sid": statement.sid.as_deref(),
            "index": statement.index,
            "effect": if rule.deny { "Deny" } else { "Allow" },
        });
        let actions = rule.actions_in_force(values);
        match rule.patterns(values) {
            Some(patterns) if can_match(permissions, rule, actions, &patterns) => {
                let member = if rule.inverted { "notResources" } else { "resources" };
                insert(&mut object, "actions", actions.iter().map(Action::name).collect());
                insert(&mut object, member, patterns.iter().map(ToString::to_string).collect());
                applicable.push(object);
            }
            _ => {
                let reason = why_inapplicable(permissions, rule);
                insert(&mut object, "reason", reason.into());
                not_applicable.push(object);
            }
        }
    }
    json!({ "statements": applicable, "notApplicable": not_applicable })
}

/// Whether there is any request that the statement applies to.
fn can_match(permissions: &Permissions, rule: &Rule, actions: ActionSet, patterns: &[Pattern]) -> bool {
    actions.iter().any(|action| {
        let prefix = action.kind().resource_prefix(permissions.arn_prefix());
        rule.inverted || patterns.iter().any(|pattern| !pattern.offsets_after(&prefix).is_empty())
    })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

fn why_inapplicable(permissions: &Permissions, rule: &Rule) -> String {
    if rule.actions.is_empty() {
        return "it names no action that is checked here".to_owned();
    }
    let connecting = rule.actions == ActionSet::of(Action::Connect);
    let mut reasons = failed_conditions(permissions, rule, connecting);
    let unresolved = rule.resources.iter().filter_map(|template| {
        let unresolved = template.pattern(permissions.values()).err()?;
        Some(format!("resource `{}`: {unresolved}", shown(template, permissions)))
    });
    if rule.patterns(permissions.values()).is_none() {
        reasons.extend(unresolved);
    }
    if reasons.is_empty() {
        let prefix = permissions.arn_prefix();
        reasons.push(format!(
            "no resource that its actions are checked on matches: those start with `{prefix}` and the kind"
        ));
    }
    reasons.join("; ")
}

fn failed_conditions(permissions: &Permissions, rule: &Rule, connecting: bool) -> Vec<String> {
    let values = permissions.values();
    let failed = rule.conditions.iter().filter(|condition| !condition.holds(values, connecting));
    failed.map(|condition| condition.reason(values, connecting)).collect()
}

/// One request that is to be explained.
struct Request<'p> {
    permissions: &'p Permissions,
    action: Action,
    /// ARNs; two for a shared subscription.
    resources: Vec<String>,
}

impl Request<'_> {
    /// Why an Allow statement for the action does not apply.
    fn why_not(&self, rule: &Rule) -> String {
        const SHOWN: usize = 3;
        let mut reasons = if rule.inverted { self.exclusions(rule) } else { self.mismatches(rule) };
        let more = reasons.len().saturating_sub(SHOWN);
        reasons.truncate(SHOWN);
        if more > 0 {
            reasons.push(format!("nor does any of {more} more resources"));
        }
        reasons.extend(failed_conditions(self.permissions, rule, self.action == Action::Connect));
        reasons.join("; ")
    }

    /// Why no pattern of `Resource` matches; empty if one does.
    fn mismatches(&self, rule: &Rule) -> Vec<String> {
        let mut reasons = Vec::new();
        for template in &rule.resources {
            let source = shown(template, self.permissions);
            match template.pattern(self.permissions.values()) {
                Ok(pattern) if self.resources.iter().any(|resource| pattern.matches(resource)) => {
                    return Vec::new();
                }
                Ok(pattern) => {
                    let pattern = pattern.to_string();
                    let mut reason = match pattern == template.source() {
                        true => format!("resource `{source}` does not match"),
                        false => format!(
                            "resource `{source}` became `{}`, which does not match",
                            pattern.strip_prefix(self.permissions.arn_prefix()).unwrap_or(&pattern)
                        ),
                    };
                    self.add_hint(&pattern, &mut reason);
                    reasons.push(reason);
                }
                Err(unresolved) => reasons.push(format!("resource `{source}`: {unresolved}")),
            }
        }
        reasons
    }

    /// What is often overlooked.
    fn add_hint(&self, pattern: &str, reason: &mut String) {
        let kind = self.action.kind();
        let prefix = self.permissions.arn_prefix();
        let _ = match pattern.strip_prefix(prefix) {
            Some(_) if kind == ResourceKind::Everything => {
                write!(reason, " ({} needs the resource `*`)", self.action.name())
            }
            Some(rest) => match rest.split_once('/') {
                Some((other, _)) if other != kind.name() && !other.contains(['*', '?']) => {
                    write!(reason, " ({} needs `{}/…`)", self.action.name(), kind.name())
                }
                Some((_, name)) if name.contains(['+', '#']) => {
                    write!(reason, " (`+` and `#` are plain characters in a policy, `*` matches any text)")
                }
                _ => Ok(()),
            },
            None if pattern.starts_with("arn:aws:iot:") && !pattern.contains(['*', '?']) => {
                write!(reason, " (resources here start with `{prefix}`)")
            }
            None => Ok(()),
        };
    }

    /// Which patterns of `NotResource` keep the statement from applying; empty if it does.
    fn exclusions(&self, rule: &Rule) -> Vec<String> {
        let mut reasons = Vec::new();
        for template in &rule.resources {
            let source = shown(template, self.permissions);
            match template.pattern(self.permissions.values()) {
                Ok(pattern) if self.resources.iter().any(|resource| pattern.matches(resource)) => {
                    reasons.push(format!("NotResource `{source}` excludes it"));
                }
                Ok(_) => {}
                Err(unresolved) => reasons.push(format!("NotResource `{source}`: {unresolved}")),
            }
        }
        reasons
    }
}

/// A resource as written, without the prefix that all have here.
fn shown<'t>(template: &'t Template, permissions: &Permissions) -> &'t str {
    template.source().strip_prefix(permissions.arn_prefix()).unwrap_or(template.source())
}

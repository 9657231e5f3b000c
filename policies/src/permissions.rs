//! The compiled policies of one connection.
use crate::action::ResourceKind;
use crate::document::Rule;
use crate::table::{Builder, Matches, Table, Target};
use crate::values::Values;
use crate::{Action, Context, Document, Explanation, Scope};
use std::sync::Arc;

/// One policy that applies to a connection.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct AttachedPolicy {
    pub name: Arc<str>,
    pub version: u32,
    pub document: Arc<Document>,
}

/// Names the statement that made a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Statement {
    pub policy: Arc<str>,
    pub version: u32,
    pub sid: Option<Arc<str>>,
    /// Zero-based position in the document.
    pub index: usize,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Decision<'a> {
    Allowed {
        by: &'a Statement,
    },
    /// An explicit Deny.
    Denied {
        by: &'a Statement,
    },
    /// No statement allows it.
    NotAllowed,
}
impl Decision<'_> {
    /// Allowed?
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed { .. })
    }
}

/// All policies of one connection, with variables filled in and conditions decided. Cheap to query.
///
/// A decision takes one binary search over the literal starts of the patterns, and one match for each pattern whose
/// start the name has; it allocates nothing. `benches/decide.rs` measures it: about 0.3 µs for 200 statements, 20 ns
/// for each pattern that starts with a wildcard.
///
/// The worst that a policy can ask for is a match against the whole name for every pattern. That takes time in
/// proportion to the name; only where `?` stands between literal pieces after a `*`, to the name times the pattern:
/// 0.1 ms for a document full of `a?` on a topic of 256 bytes, 0.3 s on one of 65,000. Values that devices bring are
/// literals without `?`: beside one in the policy, a long value costs 2 ms on a topic of 65,000 bytes. Whoever lets
/// strangers write policies should bound topics.
#[derive(Debug, Default)]
pub struct Permissions {
    policies: Box<[AttachedPolicy]>,
    values: Values,
    arn_prefix: Box<str>,
    statements: Box<[Statement]>,
    /// In the order of [`ResourceKind::ALL`].
    tables: [Option<Box<Table>>; ResourceKind::ALL.len()],
}

impl Permissions {
    /// Compiles once per connection, and again when something that they depend on changes.
    ///
    /// Statements whose conditions do not hold, or that depend on a variable without a value, are left out.
    pub fn compile(policies: &[AttachedPolicy], scope: &Scope, context: &Context) -> Self {
        let arn_prefix = scope.arn_prefix();
        let keys = policies.iter().flat_map(|policy| policy.document.keys());
        let values = Values::resolve(keys, context, &arn_prefix);
        let mut builders =
            ResourceKind::ALL.map(|kind| (kind, kind.resource_prefix(&arn_prefix), Builder::default()));
        let mut statements = Vec::new();
        for (statement, rule) in rules(policies) {
            let actions = rule.actions_in_force(&values);
            let Some(patterns) = rule.patterns(&values) else { continue };
            let mut applies = false;
            for (kind, prefix, builder) in &mut builders {
                let actions = actions.of_kind(*kind);
                if !actions.is_empty() {
                    let target = Target { statement: statements.len() as u32, actions, deny: rule.deny };
                    applies |= builder.add(&patterns, rule.inverted, prefix, target);
                }
            }
            if applies {
                statements.push(statement);
            }
        }
        Self {
            policies: policies.into(),
            values,
            arn_prefix: arn_prefix.into(),
            statements: statements.into(),
            tables: builders.map(|(_, _, builder)| builder.build().map(Box::new)),
        }
    }

    /// Permissions that allow nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Decides; allocates nothing. `name` is what follows the kind in the ARN: the client id, topic or filter.
    ///
    /// Any matching Deny refuses. The statement named is the first that matches, in the order of the policies.
    /// `Subscribe` is decided as by [`Self::decide_subscribe`]; `ListRetainedMessages` has no name.
    pub fn decide(&self, action: Action, name: &str) -> Decision<'_> {
        let mut matches = Matches::default();
        if let Some(table) = self.table(action.kind()) {
            let name = if action.kind() == ResourceKind::Everything { "" } else { name };
            table.find(action, name, &mut matches);
            if action == Action::Subscribe
                && let Some(filter) = shared_filter(name)
            {
                table.find(action, filter, &mut matches);
            }
        }
        let statement = |index: Option<u32>| self.statements.get(index? as usize);
        match (statement(matches.deny), statement(matches.allow)) {
            (Some(by), _) => Decision::Denied { by },
            (None, Some(by)) => Decision::Allowed { by },
            (None, None) => Decision::NotAllowed,
        }
    }

    /// `Subscribe` on a filter, `$share/<group>/` handled as `spec/policies.md` section 11 says: allowed if the filter
    /// is allowed with or without it, and denied if either is denied. Allocates nothing.
    pub fn decide_subscribe(&self, filter: &str) -> Decision<'_> {
        self.decide(Action::Subscribe, filter)
    }

    /// The same decision with its reasons.
    pub fn explain(&self, action: Action, name: &str) -> Explanation {
        let shared = if action == Action::Subscribe { shared_filter(name) } else { None };
        Explanation::of(self, action, name, shared)
    }

    /// Effective permissions for people and tools: every applicable statement with its patterns after substitution,
    /// and every other one with the reason why it does not apply.
    ///
    /// `{"statements": [{"policy", "version", "sid", "index", "effect", "actions": […], "resources": […]}],
    /// "notApplicable": [{"policy", "version", "sid", "index", "effect", "reason"}]}`; `notResources` in place of
    /// `resources` for `NotResource`; `sid` is null if there is none.
    pub fn describe(&self) -> serde_json::Value {
        crate::explanation::describe(self)
    }

    /// The variables and condition keys that statements for an action refer to and that have no value on this
    /// connection, by name (`iot:ClientId`), each once. Their statements, or parts of them, match nothing.
    pub fn missing_values(&self, action: Action) -> Vec<String> {
        let connecting = action == Action::Connect;
        let of_action = self.rules().filter(|(_, rule)| rule.actions.contains(action));
        let names: std::collections::BTreeSet<String> = of_action
            .flat_map(|(_, rule)| rule.keys())
            .filter(|key| self.values.list(key, connecting).is_err())
            .map(ToString::to_string)
            .collect();
        names.into_iter().collect()
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    pub(crate) fn arn_prefix(&self) -> &str {
        &self.arn_prefix
    }

    /// Every statement of every policy, applicable or not.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (Statement, &Rule)> {
        rules(&self.policies)
    }

    fn table(&self, kind: ResourceKind) -> Option<&Table> {
        self.tables.get(kind as usize)?.as_deref()
    }
}

fn rules(policies: &[AttachedPolicy]) -> impl Iterator<Item = (Statement, &Rule)> {
    policies.iter().flat_map(|AttachedPolicy { name, version, document }| {
        document.rules().iter().enumerate().map(|(index, rule)| {
            (Statement { policy: name.clone(), version: *version, sid: rule.sid.clone(), index }, rule)
        })
    })
}

/// The filter of a shared subscription: what follows `$share/<group>/`.
fn shared_filter(filter: &str) -> Option<&str> {
    let (group, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    (!group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty()).then_some(filter)
}

//! The compiled policies of one connection.
use crate::{Action, Context, Document, Scope};
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
    pub near_misses: Vec<NearMiss>,
}
impl std::fmt::Display for Explanation {
    /// One line: what was asked, the answer, by which statement or what was missing.
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}

/// All policies of one connection, with variables filled in and conditions decided. Cheap to query.
#[derive(Debug)]
pub struct Permissions {}

impl Permissions {
    /// Compiles once per connection, and again when something that they depend on changes.
    pub fn compile(_policies: &[AttachedPolicy], _scope: &Scope, _context: &Context) -> Self {
        unimplemented!()
    }
    /// Permissions that allow nothing.
    pub fn none() -> Self {
        unimplemented!()
    }
    /// Decides; allocates nothing. `name` is what follows the kind in the ARN: the client id, topic or filter.
    pub fn decide(&self, _action: Action, _name: &str) -> Decision<'_> {
        unimplemented!()
    }
    /// `Subscribe` on a filter, `$share/<group>/` handled as `spec/policies.md` section 11 says. Allocates nothing.
    pub fn decide_subscribe(&self, _filter: &str) -> Decision<'_> {
        unimplemented!()
    }
    /// The same decision with its reasons.
    pub fn explain(&self, _action: Action, _name: &str) -> Explanation {
        unimplemented!()
    }
    /// Effective permissions for people and tools: every applicable statement with its patterns after substitution.
    pub fn describe(&self) -> serde_json::Value {
        unimplemented!()
    }
}

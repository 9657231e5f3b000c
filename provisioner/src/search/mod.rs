//! Searching for things: the query language of fleet indexing, its terms over the registry and connectivity, and what a
//! thing looks like to it. Pure.
//!
//! `thingName:pump* AND (attributes.line:7 OR attributes.floor>2) AND NOT connectivity.connected:true`. Fields are
//! `thingName`, `thingId`, `thingTypeName`, `thingGroupNames`, `attributes.NAME`, `connectivity.connected`,
//! `connectivity.timestamp` and `connectivity.disconnectReason`; a term without a field is looked for in all of them.
//! Terms side by side mean AND; `-` means NOT; `*` and `?` are wildcards; `"…"` is a phrase; `[1 TO 5]` and `{1 TO 5}`
//! are ranges; `field:(a OR b)` groups; a backslash takes the next character as it is. Case does not count.
mod lexer;
mod parser;
mod term;

pub(crate) use term::Candidate;
use term::Term;

/// A query that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Query(Node);

/// One step of a query.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Term(Term),
}

/// Why a query cannot be read. Displayed for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query cannot be read: {0}")]
pub struct QueryError(String);

impl Query {
    /// Most characters of a query.
    pub const LONGEST: usize = 1_000;

    /// Reads a query.
    ///
    /// # Errors
    /// What is wrong, where, and what would be right.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parser::parse(text).map(Self)
    }

    /// Does a thing match?
    pub(crate) fn matches(&self, thing: &Candidate<'_>) -> bool {
        matches(&self.0, thing)
    }
    /// Can only be answered with the groups of a thing?
    pub(crate) fn needs_groups(&self) -> bool {
        any_term(&self.0, &Term::needs_groups)
    }
    /// Asks about connectivity by name?
    pub(crate) fn asks_for_connectivity(&self) -> bool {
        any_term(&self.0, &Term::asks_for_connectivity)
    }
}

/// The parser bounds the depth of a query, and with it this recursion.
fn matches(node: &Node, thing: &Candidate<'_>) -> bool {
    match node {
        Node::All(nodes) => nodes.iter().all(|node| matches(node, thing)),
        Node::Any(nodes) => nodes.iter().any(|node| matches(node, thing)),
        Node::Not(node) => !matches(node, thing),
        Node::Term(term) => term.matches(thing),
    }
}

fn any_term(node: &Node, fits: &impl Fn(&Term) -> bool) -> bool {
    match node {
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().any(|node| any_term(node, fits)),
        Node::Not(node) => any_term(node, fits),
        Node::Term(term) => fits(term),
    }
}

#[cfg(test)]
mod tests;

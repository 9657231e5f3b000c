//! The policy language (`spec/policies.md`): parse, compile, decide with the reason. Pure: no I/O, no clock.
#![deny(missing_docs)]

mod action;
mod context;
mod document;
mod permissions;

pub use action::Action;
pub use context::{Context, Scope, ThingContext};
pub use document::{Document, DocumentError};
pub use permissions::{AttachedPolicy, Decision, Explanation, NearMiss, Permissions, Statement};

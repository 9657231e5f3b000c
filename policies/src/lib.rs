//! The policy language (`spec/policies.md`): parse, compile, decide with the reason. Pure: no I/O, no clock.
//!
//! ```
//! use jitp_policies::{Action, AttachedPolicy, Context, Document, Permissions, Scope};
//! # fn main() -> Result<(), jitp_policies::DocumentError> {
//! let document = Document::parse(
//!     r#"{ "Version": "2012-10-17", "Statement": [ { "Effect": "Allow", "Action": "iot:Publish",
//!          "Resource": "arn:aws:iot:local-1:000000000000:topic/dev/${iot:ClientId}/*" } ] }"#,
//! )?;
//! let policy = AttachedPolicy { name: "devices".into(), version: 1, document: document.into() };
//! let scope = Scope { region: "local-1".into(), account: "000000000000".into() };
//! let context = Context { client_id: Some("pump-1".into()), ..Context::default() };
//!
//! let permissions = Permissions::compile(&[policy], &scope, &context);
//! assert!(permissions.decide(Action::Publish, "dev/pump-1/state").is_allowed());
//! assert!(!permissions.decide(Action::Publish, "dev/pump-2/state").is_allowed());
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

mod action;
mod condition;
mod context;
mod date;
mod document;
mod explanation;
mod glob;
mod ip_range;
mod json;
mod key;
mod operator;
mod permissions;
mod table;
mod template;
mod values;

pub use action::Action;
pub use context::{Context, Scope, ThingContext};
pub use document::{Document, DocumentError};
pub use explanation::{Explanation, NearMiss};
pub use ip_range::IpRange;
pub use permissions::{AttachedPolicy, Decision, Permissions, Statement};

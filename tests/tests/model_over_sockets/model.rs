//! The model, as the broker's own tests have it.
#[path = "../../../broker/tests/model/crash.rs"]
mod crash;
#[path = "../../../broker/tests/model/deliveries.rs"]
mod deliveries;
#[path = "../../../broker/tests/model/filters.rs"]
mod filters;
#[path = "../../../broker/tests/model/groups.rs"]
mod groups;
#[path = "../../../broker/tests/model/retained.rs"]
mod retained;
#[path = "../../../broker/tests/model/script.rs"]
pub mod script;
#[path = "../../../broker/tests/model/semantics.rs"]
pub mod semantics;
#[path = "../../../broker/tests/model/session.rs"]
mod session;
#[path = "../../../broker/tests/model/wills.rs"]
mod wills;

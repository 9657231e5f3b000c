//! The registry of jitp over a durable store, and every way to provision a device.
//!
//! Knows records, transactions, provisioning runs, attempts and changes; knows nothing of sockets, MQTT or HTTP.
#![deny(missing_docs)]

pub mod access_key;
pub mod admission;
mod approval;
pub mod archive;
mod arn;
mod attempt;
mod audit;
mod buckets;
pub mod bulk;
mod cache;
mod callback;
mod change;
mod clock;
mod connectivity;
mod data_plane;
mod error;
pub mod fleet;
pub mod issuing;
pub mod names;
mod numbered_log;
mod permissions;
mod provisioner;
mod reason;
pub mod records;
mod register_thing;
pub mod registry;
mod renewal;
mod replay;
pub mod search;
pub mod sessions;
mod shared_records;
mod simulate;
pub mod store;
mod stored;
mod transact;
mod tx;

pub use access_key::{AccessKeyRecord, AccessKeyStatus, Right, Role, Secret};
pub use admission::budget::{CaBudget, UpdateCaBudget};
pub use admission::{Admission, Presentation, Principal, Refusal};
pub use approval::{Approval, Decided};
pub use arn::{ANY_REGION, Arn, ArnError, ResourceKind};
pub use attempt::{Attempt, AttemptFilter, AttemptKind, Outcome};
pub use audit::{AuditFilter, AuditLog, AuditRecord, AuditedCall};
pub use buckets::Buckets;
pub use callback::{Callback, CallbackError, Callbacks};
pub use change::{Change, ChangeEntry, ChangeFeed, Dependency, Operation};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use connectivity::{ConnectionState, Connectivity};
pub use data_plane::{
    Answer, DataPlane, DataPlaneSeat, DeleteConnection, Publication, PublicationError, RetainedMessage,
    RetainedPage,
};
pub use error::{RegistryError, ResourceKindName};
pub use numbered_log::{Numbered, NumberedLog};
pub use permissions::{
    AuthorizationAnswer, AuthorizationQuestion, AuthorizationRequest, ConnectContext, Granted,
};
pub use provisioner::{Health, Options, Provisioner};
pub use reason::ReasonCode;
pub use register_thing::RegisteredThing;
pub use registry::Registry;
pub use renewal::{EnrollmentError, Renewal, RenewalLink, Renewed};
pub use replay::{ChangedDecision, Difference, ReplayPage, ReplayRequest};
pub use simulate::{Existing, Simulation};

pub use jitp_certs as certs;
pub use jitp_policies as policies;
pub use jitp_templates as templates;

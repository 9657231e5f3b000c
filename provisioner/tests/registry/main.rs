//! The registry's rules, through its public operations.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test"
)]
#[path = "../../../certs/tests/support/twin.rs"]
mod twin;

mod billing_groups;
mod ca_certificates;
mod certificates;
mod changes;
mod concurrency;
mod events;
mod pages;
mod policies;
mod principals;
mod search;
mod tags;
mod templates;
mod thing_group_tree;
mod thing_groups;
mod thing_types;
mod things;

use jitp_certs::{Attribute, Authority, KeyKind, LeafRequest, Validity};
use jitp_provisioner::names::*;
use jitp_provisioner::records::*;
use jitp_provisioner::registry::{CreateThing, PageRequest, RegisterCaCertificate};
use jitp_provisioner::store::Revision;
use jitp_provisioner::{Change, ManualClock, Options, Registry, RegistryError, Timestamp};
use std::sync::Arc;

pub const NOW: u64 = 1_767_225_600_000;
pub const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_900_000_000 };
pub const ALLOW_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
pub const JITP_BODY: &str = r#"{"Parameters":{"AWS::IoT::Certificate::CommonName":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},
    "Resources":{"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"AWS::IoT::Certificate::CommonName"}}},
    "certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"ACTIVE"}}}}"#;
pub const ROLE: &str = "arn:aws:iam::000000000000:role/provisioner";

/// A registry in a directory of its own, with a clock that stands still.
pub struct Fixture {
    _dir: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub registry: Registry,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }
    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(NOW)));
        let mut options = Options { min_free_disk: 0, ..Options::default() };
        change(&mut options);
        let registry = Registry::open(dir.path(), options, clock.clone()).await.unwrap();
        Self { _dir: dir, clock, registry }
    }
    pub fn later(&self, seconds: u64) {
        use jitp_provisioner::Clock;
        self.clock.set(Timestamp(self.clock.now().0 + seconds * 1000));
    }
    /// A registered certificate that is INACTIVE and belongs to no CA: as its own, in mode SNI_ONLY.
    pub async fn ca(&self, name: &str) -> (Authority, CaCertificateRecord) {
        let authority = authority(name);
        let request = RegisterCaCertificate {
            ca_certificate: authority.certificate().to_pem(),
            mode: CertificateMode::SniOnly,
            ..RegisterCaCertificate::default()
        };
        let record = self.registry.register_ca_certificate(request).await.unwrap();
        (authority, record)
    }
    pub async fn thing(&self, name: &str) -> ThingName {
        self.registry.create_thing(thing(name), CreateThing::default()).await.unwrap().name
    }
    pub async fn policy(&self, name: &str) -> PolicyName {
        self.registry.create_policy(policy(name), ALLOW_ALL).await.unwrap().name
    }
    pub async fn group(&self, name: &str, parent: Option<&str>) -> ThingGroupName {
        let parent = parent.map(group);
        self.registry.create_thing_group(group(name), parent, None, Default::default()).await.unwrap().name
    }
    pub fn revision(&self) -> Revision {
        self.registry.changes().latest()
    }
    /// What happened since, one short text each.
    pub async fn happened(&self, since: Revision) -> Vec<String> {
        let entries = self.registry.changes().since(since, 1_000).await.unwrap();
        entries.iter().map(|e| shown(&e.change)).collect()
    }
}

pub fn authority(name: &str) -> Authority {
    Authority::create(&[(Attribute::CommonName, name.into())], VALIDITY, KeyKind::EcP256).unwrap()
}
pub fn leaf(authority: &Authority, name: &str) -> jitp_certs::Certificate {
    let request = LeafRequest {
        subject: vec![(Attribute::CommonName, name.into())],
        validity: VALIDITY,
        key: KeyKind::EcP256,
    };
    authority.issue_device(&request).unwrap().certificate
}
pub fn thing(name: &str) -> ThingName {
    name.parse().unwrap()
}
pub fn group(name: &str) -> ThingGroupName {
    name.parse().unwrap()
}
pub fn policy(name: &str) -> PolicyName {
    name.parse().unwrap()
}
pub fn attributes(list: &[(&str, &str)]) -> std::collections::BTreeMap<AttributeName, AttributeValue> {
    list.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
}
pub fn first(limit: usize) -> PageRequest {
    PageRequest { after: None, limit, ascending: true }
}

/// The variant of an error, and that its text says something.
pub fn kind<T: std::fmt::Debug>(result: Result<T, RegistryError>) -> &'static str {
    let error = match result {
        Ok(done) => panic!("done: {done:?}"),
        Err(error) => error,
    };
    assert!(error.to_string().len() > 15, "{error:?}");
    match error {
        RegistryError::InvalidRequest(_) => "IR",
        RegistryError::NotFound { .. } => "NF",
        RegistryError::AlreadyExists { .. } => "AE",
        RegistryError::LimitExceeded(_) => "LE",
        RegistryError::VersionsLimitExceeded(_) => "VL",
        RegistryError::CertificateState(_) => "CS",
        RegistryError::CertificateConflict(_) => "CC",
        RegistryError::CertificateValidation(_) => "CV",
        RegistryError::RegistrationCodeValidation(_) => "RV",
        RegistryError::DeleteConflict(_) => "DC",
        RegistryError::VersionConflict(_) => "VC",
        RegistryError::ConflictingUpdate(_) => "CU",
        RegistryError::RegistrationFailure(_) => "RR",
        RegistryError::MalformedPolicy(_) => "MP",
        RegistryError::InvalidQuery(_) => "IQ",
        RegistryError::Unavailable(_) => "SU",
        RegistryError::Internal(_) => "IF",
    }
}

fn shown(change: &Change) -> String {
    let sign = |added: &bool| if *added { "added" } else { "removed" };
    match change {
        Change::Thing { operation, thing } => {
            format!("thing {} {operation:?} v{}", thing.name, thing.version)
        }
        Change::ThingType { operation, thing_type } => format!("type {} {operation:?}", thing_type.name),
        Change::ThingTypeAssociation { added, thing, thing_type, .. } => {
            format!("{thing} of {thing_type} {}", sign(added))
        }
        Change::ThingGroup { operation, group, parent_ids } => {
            format!("group {} {operation:?} under {}", group.name, parent_ids.len())
        }
        Change::ThingGroupMembership { added, group, thing, .. } => {
            format!("{thing} in {group} {}", sign(added))
        }
        Change::ThingGroupHierarchy { added, parent, child, .. } => {
            format!("{child} under {parent} {}", sign(added))
        }
        Change::CertificateRegistered { status, .. } => format!("registered {status:?}"),
        Change::Certificate { from, to, .. } => format!("certificate {from:?} to {to:?}"),
        Change::CaCertificate { operation, .. } => format!("CA {operation:?}"),
        Change::Policy { operation, policy } => format!("policy {policy} {operation:?}"),
        Change::PolicyAttachment { attached, policy, target } => match target {
            PolicyTarget::Certificate(_) => format!("{policy} on certificate {}", sign(attached)),
            PolicyTarget::ThingGroup(group) => format!("{policy} on {group} {}", sign(attached)),
        },
        Change::PrincipalAttachment { attached, thing, .. } => {
            format!("principal of {thing} {}", sign(attached))
        }
        Change::Template { operation, template } => format!("template {template} {operation:?}"),
        Change::EventConfigurations => "event configurations".into(),
        Change::Reset => "reset".into(),
        Change::Attempted { .. } => "attempt".into(),
    }
}

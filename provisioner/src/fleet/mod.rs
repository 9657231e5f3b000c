//! Fleet provisioning: RegisterThing over MQTT (`spec/fleet-provisioning.md`). The topics and encodings are the broker's
//! matter; what is asked, decided, kept and refused is here.
mod answered;
mod claims;
mod hook;
mod parameters;
mod refusal;
mod registration;
mod report;

pub(crate) use answered::forget;
pub(crate) use registration::{refuse, register};

pub use refusal::{FleetError, FleetRefusal};

use crate::buckets::Buckets;
use crate::names::{CertificateId, ThingName};
use claims::Claims;
use jitp_templates::Parameters;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// RegisterThing of a connection.
#[derive(Debug, Clone)]
pub struct RegisterDevice<'a> {
    /// The template's name, as in the topic.
    pub template: &'a str,
    /// The token, as sent; empty if none was.
    pub ownership_token: &'a str,
    /// The values, as sent.
    pub parameters: Parameters,
    /// The certificate of the connection.
    pub claim: CertificateId,
    /// The connection's client id.
    pub client_id: &'a str,
    /// Where the connection comes from.
    pub source: SocketAddr,
}

/// What the device is told when it has been provisioned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RegisteredDevice {
    /// Where the template has a thing.
    pub thing_name: Option<ThingName>,
    /// `DeviceConfiguration` of the template, evaluated; empty if it has none.
    pub device_configuration: BTreeMap<String, serde_json::Value>,
}

/// The operations of fleet provisioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FleetOperation {
    /// A key and its certificate.
    CreateKeysAndCertificate,
    /// A certificate for a key that the device has.
    CreateCertificateFromCsr,
    /// A template's run.
    RegisterThing,
}

/// Requests per second of each operation; 0: unlimited (`spec/quotas.md` section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct FleetRates {
    pub create_keys_and_certificate: u32,
    pub create_certificate_from_csr: u32,
    pub register_thing: u32,
}

impl FleetRates {
    /// The rate of an operation.
    pub const fn of(&self, operation: FleetOperation) -> u32 {
        match operation {
            FleetOperation::CreateKeysAndCertificate => self.create_keys_and_certificate,
            FleetOperation::CreateCertificateFromCsr => self.create_certificate_from_csr,
            FleetOperation::RegisterThing => self.register_thing,
        }
    }
}

/// What all runs share.
pub(crate) struct Fleet {
    pub(crate) rates: Buckets<FleetOperation>,
    pub(crate) claims: Claims,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        const OPERATIONS: usize = 3;
        Self { rates: Buckets::new(OPERATIONS), claims: Claims::default() }
    }
}

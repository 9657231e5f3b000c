//! The ways to provision, and the rates to compare with (`spec/quotas.md` section 1).
use crate::report::{Case, Yardstick};
use clap::ValueEnum;

/// A way to provision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// First connection; all devices share an inline policy
    FirstConnection,
    /// First connection; each device has a policy of its own, which is there before
    FirstConnectionPolicyEach,
    /// A certificate registers itself, is approved over the API, and connects
    Jitr,
    /// RegisterThing: a thing, a certificate by a signing request, a policy
    RegisterThing,
    /// CreateCertificateFromCsr
    CreateFromCsr,
    /// CreateKeysAndCertificate with RSA-2048 keys in stock
    CreateKeys,
    /// The same with P-256 keys
    CreateKeysP256,
    /// Fleet provisioning: a claim, CreateKeysAndCertificate, RegisterThing; RSA-2048 keys in stock
    FleetKeys,
    /// The same with nothing in stock
    FleetKeysMade,
    /// The same with P-256 keys
    FleetKeysP256,
    /// Fleet provisioning: a claim, CreateCertificateFromCsr, RegisterThing
    FleetCsr,
    /// The same with a hook over HTTP
    FleetCsrHook,
    /// CreateProvisioningClaim with RSA-2048 keys in stock
    Claim,
    /// The same with P-256 keys
    ClaimP256,
    /// A P-256 claim, and the fleet provisioning of a device with it
    TrustedUser,
    /// Renewal over MQTT
    Renewal,
    /// Registration tasks
    Bulk,
}

impl Way {
    /// A case without rounds.
    pub fn case(self) -> Case {
        let (title, aws, target) = self.described();
        let target = Some(f64::from(target));
        let yardstick = Some(Yardstick { aws: aws.map(f64::from), target });
        Case { yardstick, ..Case::new("provision", title, "devices/s") }
    }

    /// What is measured, AWS's default quota for the slowest step of it, and our target, both per second.
    const fn described(self) -> (&'static str, Option<u16>, u16) {
        match self {
            Self::FirstConnection => ("first connection, shared policy", Some(15), 1000),
            Self::FirstConnectionPolicyEach => ("first connection, a policy each", Some(15), 1000),
            Self::Jitr => ("JITR: registered, approved, connected", Some(15), 1000),
            Self::RegisterThing => ("REST RegisterThing", Some(10), 1000),
            Self::CreateFromCsr => ("REST CreateCertificateFromCsr", Some(15), 1000),
            Self::CreateKeys => ("REST CreateKeysAndCertificate, RSA in stock", Some(10), 200),
            Self::CreateKeysP256 => ("REST CreateKeysAndCertificate, P-256", Some(10), 200),
            Self::FleetKeys => ("fleet, keys: RSA in stock", Some(10), 200),
            Self::FleetKeysMade => ("fleet, keys: RSA, none in stock", Some(10), 200),
            Self::FleetKeysP256 => ("fleet, keys: P-256", Some(10), 200),
            Self::FleetCsr => ("fleet, signing request", Some(10), 1000),
            Self::FleetCsrHook => ("fleet, signing request, hook", Some(10), 1000),
            Self::Claim => ("REST CreateProvisioningClaim, RSA in stock", Some(10), 200),
            Self::ClaimP256 => ("REST CreateProvisioningClaim, P-256", Some(10), 200),
            Self::TrustedUser => ("trusted user: claim, signing request", Some(10), 200),
            Self::Renewal => ("renewal over MQTT", None, 1000),
            Self::Bulk => ("bulk", None, 3000),
        }
    }
}

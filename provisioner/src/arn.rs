//! Amazon resource names (`spec/control-plane.md`, ARNs).
use std::fmt;

/// The region of a registry that serves callers of every region: each reads ARNs of the region that it signed for, and
/// policies match resources of any region.
pub const ANY_REGION: &str = "any";

/// The kinds of resource that have an ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ResourceKind {
    CaCertificate,
    Certificate,
    Thing,
    ThingType,
    ThingGroup,
    BillingGroup,
    Policy,
    ProvisioningTemplate,
    CertificateProvider,
}
impl ResourceKind {
    /// All of them.
    const ALL: [Self; 9] = [
        Self::CaCertificate,
        Self::Certificate,
        Self::Thing,
        Self::ThingType,
        Self::ThingGroup,
        Self::BillingGroup,
        Self::Policy,
        Self::ProvisioningTemplate,
        Self::CertificateProvider,
    ];
    /// What stands before the name.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::CaCertificate => "cacert",
            Self::Certificate => "cert",
            Self::Thing => "thing",
            Self::ThingType => "thingtype",
            Self::ThingGroup => "thinggroup",
            Self::BillingGroup => "billinggroup",
            Self::Policy => "policy",
            Self::ProvisioningTemplate => "provisioningtemplate",
            Self::CertificateProvider => "certificateprovider",
        }
    }
    /// What stands between them.
    const fn separator(self) -> char {
        match self {
            Self::CertificateProvider => ':',
            _ => '/',
        }
    }
}

/// A parsed ARN: `arn:aws:iot:<region>:<account>:<kind>/<name>`; a certificate provider's has a colon for the slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Arn {
    pub region: String,
    pub account: String,
    pub kind: ResourceKind,
    pub name: String,
}

/// The text is not an ARN that jitp knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an ARN of this service: expected arn:aws:iot:<region>:<account>:<kind>/<name>")]
pub struct ArnError {
    text: String,
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, separator) = (self.kind.prefix(), self.kind.separator());
        write!(f, "arn:aws:iot:{}:{}:{kind}{separator}{}", self.region, self.account, self.name)
    }
}

impl std::str::FromStr for Arn {
    type Err = ArnError;
    fn from_str(text: &str) -> Result<Self, ArnError> {
        let error = || ArnError { text: text.chars().take(200).collect() };
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or_else(error);
        let (arn, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        let of_kind = |kind: ResourceKind| {
            let name = resource.strip_prefix(kind.prefix())?.strip_prefix(kind.separator())?;
            Some((kind, name))
        };
        let (kind, name) = ResourceKind::ALL.into_iter().find_map(of_kind).ok_or_else(error)?;
        if arn != "arn" || partition != "aws" || service != "iot" || name.is_empty() {
            return Err(error());
        }
        Ok(Self { region: region.into(), account: account.into(), kind, name: name.into() })
    }
}

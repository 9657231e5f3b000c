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
}
impl ResourceKind {
    /// What stands before the slash.
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
        }
    }
}

/// A parsed ARN: `arn:aws:iot:<region>:<account>:<kind>/<name>`.
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
        write!(f, "arn:aws:iot:{}:{}:{}/{}", self.region, self.account, self.kind.prefix(), self.name)
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
        let (prefix, name) = resource.split_once('/').ok_or_else(error)?;
        let kinds = [
            ResourceKind::CaCertificate,
            ResourceKind::Certificate,
            ResourceKind::Thing,
            ResourceKind::ThingType,
            ResourceKind::ThingGroup,
            ResourceKind::BillingGroup,
            ResourceKind::Policy,
            ResourceKind::ProvisioningTemplate,
        ];
        let kind = kinds.into_iter().find(|k| k.prefix() == prefix).ok_or_else(error)?;
        if arn != "arn" || partition != "aws" || service != "iot" || name.is_empty() {
            return Err(error());
        }
        Ok(Self { region: region.into(), account: account.into(), kind, name: name.into() })
    }
}

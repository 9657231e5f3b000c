//! ARNs in and out: targets and principals that callers name, and the ARNs in replies.
use jitp_provisioner::names::{CertificateId, ThingGroupName};
use jitp_provisioner::records::PolicyTarget;
use jitp_provisioner::{ANY_REGION, Arn, ResourceKind};
use serde::Deserialize;
use serde::de::Error as _;

use crate::call::{Call, Input};
use crate::error::ApiError;

/// The longest ARN that is read, in characters.
const LONGEST_ARN: usize = 2048;

/// An ARN as an input.
pub(crate) struct ArnInput(Arn);
impl<'de> Deserialize<'de> for ArnInput {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > LONGEST_ARN {
            return Err(D::Error::custom(format_args!("expected at most {LONGEST_ARN} characters")));
        }
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Call {
    /// The ARN of a resource, for a reply.
    pub fn arn(&self, kind: ResourceKind, name: impl ToString) -> String {
        let arn = self.registry().arn(kind, &name.to_string());
        Arn { region: self.region().into(), ..arn }.to_string()
    }
    /// The ARN of what a policy is attached to, for a reply.
    pub fn target_arn(&self, target: &PolicyTarget) -> String {
        match target {
            PolicyTarget::Certificate(id) => self.arn(ResourceKind::Certificate, id),
            PolicyTarget::ThingGroup(name) => self.arn(ResourceKind::ThingGroup, name),
        }
    }
    /// What a policy is or shall be attached to: a certificate or a thing group.
    pub fn policy_target(&self, input: Input<ArnInput>) -> Result<PolicyTarget, ApiError> {
        let member = input.name();
        let arn = self.own(member, input.required()?)?;
        match arn.kind {
            ResourceKind::Certificate => certificate_id(member, &arn.name).map(PolicyTarget::Certificate),
            ResourceKind::ThingGroup => ThingGroupName::new(&arn.name)
                .map(PolicyTarget::ThingGroup)
                .map_err(|error| ApiError::invalid(member, error)),
            _ => Err(ApiError::invalid(member, "expected the ARN of a certificate or of a thing group")),
        }
    }
    /// A resource of this registry.
    pub fn resource(&self, input: Input<ArnInput>) -> Result<Arn, ApiError> {
        let member = input.name();
        self.own(member, input.required()?)
    }
    /// A principal of a thing: the ARN of a certificate.
    pub fn principal(&self, input: Input<ArnInput>) -> Result<CertificateId, ApiError> {
        let member = input.name();
        let arn = self.own(member, input.required()?)?;
        match arn.kind {
            ResourceKind::Certificate => certificate_id(member, &arn.name),
            _ => Err(ApiError::invalid(member, "expected the ARN of a certificate")),
        }
    }
    /// The resource's name out of its name or its ARN; exactly one must be given, or both the same.
    pub fn name_or_arn<N>(
        &self,
        name: Input<N>,
        arn: Input<ArnInput>,
        kind: ResourceKind,
    ) -> Result<N, ApiError>
    where
        N: std::str::FromStr<Err: std::fmt::Display> + PartialEq,
    {
        let (name_member, arn_member) = (name.name(), arn.name());
        let from_arn = match arn.optional()? {
            None => None,
            Some(arn) => {
                let arn = self.own(arn_member, arn)?;
                if arn.kind != kind {
                    let expected = kind.prefix();
                    return Err(ApiError::invalid(
                        arn_member,
                        format_args!("expected the ARN of a {expected}"),
                    ));
                }
                Some(arn.name.parse::<N>().map_err(|error| ApiError::invalid(arn_member, error))?)
            }
        };
        match (name.optional()?, from_arn) {
            (Some(name), Some(other)) if name != other => {
                Err(ApiError::invalid(arn_member, format_args!("names another resource than {name_member}")))
            }
            (Some(name), _) | (None, Some(name)) => Ok(name),
            (None, None) => Err(ApiError::invalid(name_member, format_args!("give this or {arn_member}"))),
        }
    }

    /// The ARN, if it is of this account and region, or of any region where any is served.
    fn own(&self, member: &str, ArnInput(arn): ArnInput) -> Result<Arn, ApiError> {
        let (account, region) = (self.registry().account(), self.registry().region());
        if arn.account != account || region != ANY_REGION && arn.region != region {
            let why = format_args!("{arn} is not of this account and region ({account}, {region})");
            return Err(ApiError::invalid(member, why));
        }
        Ok(arn)
    }
}

fn certificate_id(member: &str, text: &str) -> Result<CertificateId, ApiError> {
    text.parse().map_err(|error| ApiError::invalid(member, error))
}

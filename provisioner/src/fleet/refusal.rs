//! Why the broker rejects a request of fleet provisioning, for the device and for the operator
//! (`spec/fleet-provisioning.md` section 5).
use crate::admission::cause::Cause;
use crate::error::RegistryError;
use crate::issuing::IssuingError;
use crate::reason::ReasonCode;
use crate::renewal::EnrollmentError;

/// What a device is told. `docs/fleet-provisioning.md` is compared with this by a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FleetError {
    /// The token is missing, empty, malformed, expired or foreign.
    InvalidCertificateOwnershipToken,
    /// The request is not JSON or CBOR, or a member has another type than it should.
    InvalidPayload,
    /// The certificate signing request is malformed, not signed by its key, or its key is too weak.
    InvalidCsr,
    /// A parameter is missing, or what the template makes of them is not a legal name or value.
    InvalidParameters,
    /// A group, type or policy that the template names is missing, or a limit is reached.
    ResourceRegistrationFailure,
    /// The hook or the template does not allow it.
    AccessDenied,
    /// There is no such template.
    ResourceNotFound,
    /// Something exists already and must not be changed, or others changed it at the same time.
    ConflictingResourceUpdate,
    /// The answer is larger than the client takes.
    PayloadTooLarge,
    /// Too many requests: try again later.
    Throttling,
    /// The broker failed: try again later.
    InternalFailure,
}

impl FleetError {
    /// All, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::InvalidCertificateOwnershipToken,
        Self::InvalidPayload,
        Self::InvalidCsr,
        Self::InvalidParameters,
        Self::ResourceRegistrationFailure,
        Self::AccessDenied,
        Self::ResourceNotFound,
        Self::ConflictingResourceUpdate,
        Self::PayloadTooLarge,
        Self::Throttling,
        Self::InternalFailure,
    ];

    /// `statusCode`
    pub const fn status_code(self) -> u16 {
        match self {
            Self::InvalidCertificateOwnershipToken
            | Self::InvalidPayload
            | Self::InvalidCsr
            | Self::InvalidParameters
            | Self::ResourceRegistrationFailure => 400,
            Self::AccessDenied => 403,
            Self::ResourceNotFound => 404,
            Self::ConflictingResourceUpdate => 409,
            Self::PayloadTooLarge => 413,
            Self::Throttling => 429,
            Self::InternalFailure => 500,
        }
    }

    /// `errorCode`
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidCertificateOwnershipToken => "InvalidCertificateOwnershipToken",
            Self::InvalidPayload => "InvalidPayload",
            Self::InvalidCsr => "InvalidCsr",
            Self::InvalidParameters => "InvalidParameters",
            Self::ResourceRegistrationFailure => "ResourceRegistrationFailure",
            Self::AccessDenied => "AccessDenied",
            Self::ResourceNotFound => "ResourceNotFound",
            Self::ConflictingResourceUpdate => "ConflictingResourceUpdate",
            Self::PayloadTooLarge => "PayloadTooLarge",
            Self::Throttling => "Throttling",
            Self::InternalFailure => "InternalFailure",
        }
    }

    /// What a device is told for a reason.
    pub const fn of(reason: ReasonCode) -> Self {
        match reason {
            ReasonCode::OwnershipTokenInvalid => Self::InvalidCertificateOwnershipToken,
            ReasonCode::RequestMalformed => Self::InvalidPayload,
            ReasonCode::MissingParameter | ReasonCode::InvalidValue => Self::InvalidParameters,
            ReasonCode::ThingGroupNotFound
            | ReasonCode::ThingTypeNotFound
            | ReasonCode::ThingTypeDeprecated
            | ReasonCode::BillingGroupNotFound
            | ReasonCode::PolicyNotFound
            | ReasonCode::LimitExceeded => Self::ResourceRegistrationFailure,
            ReasonCode::HookDenied | ReasonCode::HookFailed | ReasonCode::TemplateDisabled => {
                Self::AccessDenied
            }
            ReasonCode::TemplateNotFound => Self::ResourceNotFound,
            ReasonCode::ResourceConflict | ReasonCode::ProvisioningTimeout => Self::ConflictingResourceUpdate,
            ReasonCode::HookBusy | ReasonCode::FleetRateExceeded => Self::Throttling,
            _ => Self::InternalFailure,
        }
    }
}

/// A request that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRefusal {
    /// What the device is told.
    pub error: FleetError,
    /// `errorMessage`: nothing that a holder of a claim certificate may not know.
    pub message: String,
    pub(super) cause: Cause,
}

impl FleetRefusal {
    /// For an operator: what happened, where, what to do next.
    pub fn details(&self) -> &str {
        &self.cause.message
    }

    /// The request could not be read, and why.
    pub fn malformed(why: &str) -> Self {
        let cause = Cause::new(ReasonCode::RequestMalformed, format!("the request cannot be read: {why}"));
        Self::from(cause)
    }

    /// More requests than the rate or the connection's queue allows.
    pub fn throttled() -> Self {
        let message = "more requests of fleet provisioning have come than are allowed: the device succeeds when it retries";
        Self::from(Cause::new(ReasonCode::FleetRateExceeded, message))
    }
}

impl From<EnrollmentError> for FleetRefusal {
    /// A certificate was not renewed.
    fn from(error: EnrollmentError) -> Self {
        match error {
            EnrollmentError::Invalid(message) => Self::from(IssuingError::Request(message)),
            EnrollmentError::Forbidden(why) => Self {
                error: FleetError::AccessDenied,
                message: "the certificate of this connection cannot be renewed".into(),
                cause: Cause::new(ReasonCode::NotAuthorized, why),
            },
            EnrollmentError::Unavailable(why) => Self::from(Cause::new(ReasonCode::Internal, why)),
        }
    }
}

impl From<IssuingError> for FleetRefusal {
    /// No certificate was made.
    fn from(error: IssuingError) -> Self {
        match error {
            IssuingError::Request(message) => Self {
                error: FleetError::InvalidCsr,
                cause: Cause::new(ReasonCode::RequestMalformed, message.clone()),
                message,
            },
            IssuingError::Issuer(message) => Self::from(Cause::new(ReasonCode::Internal, message)),
            IssuingError::Busy(message) => Self::from(Cause::new(ReasonCode::FleetRateExceeded, message)),
            IssuingError::Registry(RegistryError::Unavailable(message)) => {
                Self::from(Cause::new(ReasonCode::RegistryUnavailable, message))
            }
            IssuingError::Registry(error) => Self::from(Cause::new(ReasonCode::Internal, error.to_string())),
        }
    }
}

impl From<Cause> for FleetRefusal {
    fn from(cause: Cause) -> Self {
        let error = FleetError::of(cause.reason);
        let message = match error {
            // About what the device sent itself.
            FleetError::InvalidCertificateOwnershipToken
            | FleetError::InvalidPayload
            | FleetError::InvalidParameters => cause.message.clone(),
            FleetError::ResourceRegistrationFailure => {
                format!("The device could not be registered: {}.", cause.reason)
            }
            FleetError::AccessDenied => "Access denied.".into(),
            FleetError::ResourceNotFound => "There is no such provisioning template.".into(),
            FleetError::ConflictingResourceUpdate => {
                "A resource exists already with other values, or was changed at the same time.".into()
            }
            FleetError::Throttling => "Too many requests: try again later.".into(),
            FleetError::InvalidCsr | FleetError::PayloadTooLarge | FleetError::InternalFailure => {
                "The broker failed: try again later.".into()
            }
        };
        Self { error, message, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_error_with_its_status_in_order() {
        let documented: Vec<(u16, String)> = include_str!("../../../docs/fleet-provisioning.md")
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
                let status = cells.next()?.parse().ok()?;
                Some((status, cells.next()?.trim_matches('`').to_owned()))
            })
            .collect();
        let coded: Vec<(u16, String)> =
            FleetError::ALL.iter().map(|error| (error.status_code(), error.code().to_owned())).collect();
        assert_eq!(documented, coded);
    }

    #[test]
    fn every_reason_of_a_run_has_its_answer() {
        use ReasonCode::*;
        for (reason, status) in [
            (OwnershipTokenInvalid, 400),
            (RequestMalformed, 400),
            (MissingParameter, 400),
            (InvalidValue, 400),
            (PolicyNotFound, 400),
            (LimitExceeded, 400),
            (HookDenied, 403),
            (HookFailed, 403),
            (TemplateDisabled, 403),
            (TemplateNotFound, 404),
            (ResourceConflict, 409),
            (HookBusy, 429),
            (FleetRateExceeded, 429),
            (RegistryUnavailable, 500),
            (TemplateInvalid, 500),
            (Internal, 500),
        ] {
            assert_eq!(FleetError::of(reason).status_code(), status, "{reason}");
        }
    }

    #[test]
    fn a_device_hears_nothing_of_the_operators_matters() {
        let secret = "the hook http://10.1.2.3 is down";
        for reason in ReasonCode::ALL {
            let refusal = FleetRefusal::from(Cause::new(*reason, secret));
            let about_itself = matches!(
                refusal.error,
                FleetError::InvalidCertificateOwnershipToken
                    | FleetError::InvalidPayload
                    | FleetError::InvalidParameters
            );
            assert_eq!(refusal.message.contains(secret), about_itself, "{reason}");
            assert_eq!(refusal.details(), secret);
        }
    }
}

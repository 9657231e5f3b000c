//! Why an admission or a run goes no further.
use crate::admission::Refusal;
use crate::error::RegistryError;
use crate::reason::ReasonCode;
use jitp_templates::{EvaluationError, ProblemKind};

/// The code, the sentence for the operator, and the place in the template if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: ReasonCode,
    pub(crate) message: String,
    /// Logical name of the template's resource.
    pub(crate) resource: Option<String>,
    /// JSON path in the template.
    pub(crate) json_path: Option<String>,
}

impl Cause {
    pub(crate) fn new(reason: ReasonCode, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), resource: None, json_path: None }
    }
    /// The same, placed in a property of a resource of the template, which the message then names.
    pub(crate) fn at(reason: ReasonCode, resource: &str, property: &str, message: impl Into<String>) -> Self {
        let path = format!("$.Resources.{resource}.{property}");
        Self {
            reason,
            message: format!("{} (resource {resource}, {path})", message.into()),
            resource: Some(resource.to_owned()),
            json_path: Some(path),
        }
    }
    /// The client sent no server name, and `why` it should have.
    pub(crate) fn sni_missing(why: &str) -> Self {
        let message =
            format!("the client sent no server name (SNI), and {why}: make it send the broker's host name");
        Self::new(ReasonCode::SniMisused, message)
    }
    /// What the connection is told.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal { reason: self.reason, message: self.message.clone(), retry: self.reason.is_transient() }
    }
}

impl From<RegistryError> for Cause {
    fn from(error: RegistryError) -> Self {
        let reason = match &error {
            RegistryError::LimitExceeded(_) | RegistryError::VersionsLimitExceeded(_) => {
                ReasonCode::LimitExceeded
            }
            RegistryError::CertificateConflict(_)
            | RegistryError::ConflictingUpdate(_)
            | RegistryError::VersionConflict(_)
            | RegistryError::AlreadyExists { .. }
            | RegistryError::DeleteConflict(_)
            | RegistryError::CertificateState(_) => ReasonCode::ResourceConflict,
            RegistryError::InvalidRequest(_)
            | RegistryError::NotFound { .. }
            | RegistryError::RegistrationFailure(_)
            | RegistryError::CertificateValidation(_)
            | RegistryError::InvalidQuery(_)
            | RegistryError::RegistrationCodeValidation(_) => ReasonCode::InvalidValue,
            RegistryError::MalformedPolicy(_) => ReasonCode::TemplateInvalid,
            RegistryError::Unavailable(_) => ReasonCode::RegistryUnavailable,
            RegistryError::Internal(_) => ReasonCode::Internal,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<EvaluationError> for Cause {
    /// The first problem decides the code and the place; the message tells all of them.
    fn from(error: EvaluationError) -> Self {
        let message = format!("the template cannot be evaluated for this certificate: {error}");
        let Some(first) = error.0.into_iter().next() else {
            return Self::new(ReasonCode::Internal, message);
        };
        let reason = match first.kind {
            ProblemKind::MissingParameter => ReasonCode::MissingParameter,
            ProblemKind::InvalidThingName
            | ProblemKind::InvalidAttribute
            | ProblemKind::InvalidName
            | ProblemKind::InvalidStatus
            | ProblemKind::InvalidCertificateSource
            | ProblemKind::FunctionFailed
            | ProblemKind::TooLong => ReasonCode::InvalidValue,
        };
        Self { reason, message, resource: first.resource, json_path: Some(first.path) }
    }
}

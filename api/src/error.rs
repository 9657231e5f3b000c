//! Why a call did not succeed, as AWS says it: one exception name and one HTTP status per cause
//! (`spec/control-plane.md` section 1).
use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use jitp_provisioner::issuing::IssuingError;
use jitp_provisioner::search::QueryError;
use jitp_provisioner::{ANY_REGION, PublicationError, RegistryError, Right, Role};
use serde::Serialize;

/// The header that carries the exception's name.
pub(crate) const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The longest message that is sent; what a caller sent comes back in messages.
const LONGEST_MESSAGE: usize = 2000;

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    exception: &'static str,
    status: StatusCode,
    message: String,
    resource: Option<Resource>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resource {
    id: String,
    arn: String,
}

impl ApiError {
    /// A member of the input is missing, malformed or out of bounds.
    pub fn invalid(member: &str, why: impl std::fmt::Display) -> Self {
        Self::invalid_request(format!("{member}: {why}"))
    }
    /// The request as a whole is malformed.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new("InvalidRequestException", StatusCode::BAD_REQUEST, message)
    }
    /// No operation has this method and path.
    pub fn unknown_operation(method: &http::Method, path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        let message = format!("there is no operation {method} {path}");
        Self::new("UnknownOperationException", StatusCode::NOT_FOUND, message)
    }
    /// The request carries no signature at all.
    pub fn missing_authentication() -> Self {
        Self::new(
            "MissingAuthenticationTokenException",
            StatusCode::FORBIDDEN,
            "the request is not signed: sign it with AWS Signature Version 4",
        )
    }
    /// The request's signature lacks a part or cannot be read.
    pub fn incomplete_signature(message: impl Into<String>) -> Self {
        Self::new("IncompleteSignatureException", StatusCode::FORBIDDEN, message)
    }
    /// The signature is for another time, region or service.
    pub fn invalid_signature(message: impl Into<String>) -> Self {
        Self::new("InvalidSignatureException", StatusCode::FORBIDDEN, message)
    }
    /// The key is unknown, or its secret did not sign this very request.
    pub fn unrecognized_client() -> Self {
        Self::new(
            "UnrecognizedClientException",
            StatusCode::FORBIDDEN,
            "the access key id is unknown, or the signature is not that of its secret access key over this request",
        )
    }
    /// A query cannot be read.
    pub fn invalid_query(error: &QueryError) -> Self {
        Self::new("InvalidQueryException", StatusCode::BAD_REQUEST, format!("queryString: {error}"))
    }
    /// What is asked for has never been set.
    pub fn not_configured(message: impl Into<String>) -> Self {
        Self::new("NotConfiguredException", StatusCode::NOT_FOUND, message)
    }
    /// The signature is right, but its key has been deactivated.
    pub fn inactive_key(id: &str) -> Self {
        let message = format!("the access key {id} is inactive: an administrator can activate it");
        Self::new("UnrecognizedClientException", StatusCode::FORBIDDEN, message)
    }
    /// The caller's key lacks the right that the operation needs.
    pub fn unauthorized(key: &str, role: Role, operation: &str, right: Right) -> Self {
        let message = format!(
            "the access key {key} has the role {role:?}, which lacks the right {right:?} that the operation {operation} \
             needs",
            role = role.to_string(),
            right = right.to_string(),
        );
        Self::new("UnauthorizedException", StatusCode::UNAUTHORIZED, message)
    }
    /// The caller's key has as many calls under way as it may.
    pub fn too_many_calls(most: usize) -> Self {
        let message = format!("this access key has {most} calls under way, as many as it may: try again");
        Self::new("ThrottlingException", StatusCode::BAD_REQUEST, message)
    }
    /// All callers together have called an operation as often in this second as they may.
    pub fn rate_exceeded(operation: &str, rate: u32) -> Self {
        let message =
            format!("rate exceeded: {operation} is answered {rate} times per second (api.rates): try again");
        Self::new("ThrottlingException", StatusCode::BAD_REQUEST, message)
    }
    /// A link to a report that opens nothing: what is wrong with it is nobody's business.
    pub fn no_report() -> Self {
        Self::new(
            "AccessDeniedException",
            StatusCode::FORBIDDEN,
            "this link opens no report: it has expired, or was never given; ask for another with \
             ListThingRegistrationTaskReports",
        )
    }
    /// The client took too long to send the request.
    pub fn request_timeout() -> Self {
        Self::new(
            "RequestTimeoutException",
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not arrive in time",
        )
    }
    /// What a call names does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", StatusCode::NOT_FOUND, message)
    }
    /// The API runs without a broker, or the broker is stopping.
    pub fn no_broker() -> Self {
        let message = "no broker runs in this process: try again when it has started";
        Self::new("ServiceUnavailableException", StatusCode::SERVICE_UNAVAILABLE, message)
    }
    /// A message is too large.
    pub fn payload_too_large(most: usize) -> Self {
        let message = format!("the payload has more than {most} bytes, which is the limit");
        Self::new("RequestEntityTooLargeException", StatusCode::PAYLOAD_TOO_LARGE, message)
    }
    /// Something is broken here; the log has the details under the request id.
    pub fn internal() -> Self {
        Self::new(
            "InternalFailureException",
            StatusCode::INTERNAL_SERVER_ERROR,
            "an internal error; the log has the details under this reply's request id",
        )
    }

    fn new(exception: &'static str, status: StatusCode, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message.chars().take(LONGEST_MESSAGE).collect();
        Self { exception, status, message, resource: None }
    }

    /// The exception's name.
    pub fn exception(&self) -> &'static str {
        self.exception
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// As HTTP has it.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// For a caller of this region, where any region is served: an ARN in it is then one of the caller's.
    pub fn for_region(mut self, region: &str) -> Self {
        if let Some(resource) = &mut self.resource {
            let own = |prefix: &str| format!("arn:aws:iot:{prefix}:");
            resource.arn = resource.arn.replacen(&own(ANY_REGION), &own(region), 1);
        }
        self
    }

    /// As HTTP.
    pub fn into_response(self) -> Response<Body> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Members<'a> {
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            resource_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            resource_arn: Option<&'a str>,
        }
        let members = Members {
            message: &self.message,
            resource_id: self.resource.as_ref().map(|r| r.id.as_str()),
            resource_arn: self.resource.as_ref().map(|r| r.arn.as_str()),
        };
        let body = serde_json::to_vec(&members).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.exception));
        response
    }
}

impl From<PublicationError> for ApiError {
    fn from(error: PublicationError) -> Self {
        let message = error.to_string();
        match error {
            PublicationError::Invalid(_) => Self::invalid_request(message),
            PublicationError::PayloadTooLarge { most } => {
                Self::payload_too_large(usize::try_from(most).unwrap_or(usize::MAX))
            }
            PublicationError::Forbidden(_) => {
                Self::new("UnauthorizedException", StatusCode::UNAUTHORIZED, message)
            }
            PublicationError::LimitExceeded(_) => {
                Self::new("ThrottlingException", StatusCode::TOO_MANY_REQUESTS, message)
            }
            PublicationError::Unavailable(_) => {
                Self::new("ServiceUnavailableException", StatusCode::SERVICE_UNAVAILABLE, message)
            }
        }
    }
}

impl From<RegistryError> for ApiError {
    /// The one mapping of the registry's answers to AWS's exceptions.
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        let (exception, status) = match &error {
            RegistryError::InvalidRequest(_) => ("InvalidRequestException", StatusCode::BAD_REQUEST),
            RegistryError::NotFound { .. } => ("ResourceNotFoundException", StatusCode::NOT_FOUND),
            RegistryError::AlreadyExists { .. } => ("ResourceAlreadyExistsException", StatusCode::CONFLICT),
            RegistryError::LimitExceeded(_) => ("LimitExceededException", StatusCode::GONE),
            RegistryError::VersionsLimitExceeded(_) => {
                ("VersionsLimitExceededException", StatusCode::CONFLICT)
            }
            RegistryError::CertificateState(_) => ("CertificateStateException", StatusCode::NOT_ACCEPTABLE),
            RegistryError::CertificateConflict(_) => ("CertificateConflictException", StatusCode::CONFLICT),
            RegistryError::CertificateValidation(_) => {
                ("CertificateValidationException", StatusCode::BAD_REQUEST)
            }
            RegistryError::RegistrationCodeValidation(_) => {
                ("RegistrationCodeValidationException", StatusCode::BAD_REQUEST)
            }
            RegistryError::DeleteConflict(_) => ("DeleteConflictException", StatusCode::CONFLICT),
            RegistryError::VersionConflict(_) => ("VersionConflictException", StatusCode::CONFLICT),
            RegistryError::ConflictingUpdate(_) => {
                ("ConflictingResourceUpdateException", StatusCode::CONFLICT)
            }
            RegistryError::RegistrationFailure(_) => {
                ("ResourceRegistrationFailureException", StatusCode::BAD_REQUEST)
            }
            RegistryError::InvalidQuery(_) => ("InvalidQueryException", StatusCode::BAD_REQUEST),
            RegistryError::MalformedPolicy(_) => ("MalformedPolicyException", StatusCode::BAD_REQUEST),
            RegistryError::Unavailable(_) => ("ServiceUnavailableException", StatusCode::SERVICE_UNAVAILABLE),
            RegistryError::Internal(_) => {
                tracing::error!(%error, "the registry failed");
                return Self::internal();
            }
        };
        let mut answer = Self::new(exception, status, message);
        if let RegistryError::AlreadyExists { id, arn, .. } = error {
            answer.resource = Some(Resource { id, arn });
        }
        answer
    }
}

impl From<IssuingError> for ApiError {
    fn from(error: IssuingError) -> Self {
        match error {
            IssuingError::Request(why) => Self::invalid("certificateSigningRequest", why),
            IssuingError::Issuer(why) => {
                tracing::error!(error = why, "no certificate could be issued");
                Self::new("ServiceUnavailableException", StatusCode::SERVICE_UNAVAILABLE, why)
            }
            IssuingError::Busy(why) => Self::new("ThrottlingException", StatusCode::BAD_REQUEST, why),
            IssuingError::Registry(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_registry_has_its_exception_and_status() {
        let text = || "why".to_string();
        let all = [
            RegistryError::InvalidRequest(text()),
            RegistryError::NotFound { kind: "thing", name: "pump-1".into() },
            RegistryError::AlreadyExists {
                kind: "certificate",
                id: "5f0c".into(),
                arn: "arn:aws:iot:local-1:000000000000:cert/5f0c".into(),
                hint: String::new(),
            },
            RegistryError::LimitExceeded(text()),
            RegistryError::VersionsLimitExceeded(text()),
            RegistryError::CertificateState(text()),
            RegistryError::CertificateConflict(text()),
            RegistryError::CertificateValidation(text()),
            RegistryError::RegistrationCodeValidation(text()),
            RegistryError::DeleteConflict(text()),
            RegistryError::VersionConflict(text()),
            RegistryError::ConflictingUpdate(text()),
            RegistryError::RegistrationFailure(text()),
            RegistryError::MalformedPolicy(text()),
            RegistryError::InvalidQuery(text()),
            RegistryError::Unavailable(text()),
            RegistryError::Internal("secret detail".into()),
        ];
        let lines: Vec<String> = all
            .into_iter()
            .map(|error| {
                let answer = ApiError::from(error);
                let resource = answer.resource.as_ref().map(|r| format!(" [{} {}]", r.id, r.arn));
                format!(
                    "{} {}: {}{}",
                    answer.status.as_u16(),
                    answer.exception,
                    answer.message,
                    resource.unwrap_or_default()
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_message_is_bounded() {
        let error = ApiError::invalid("target", "x".repeat(1_000_000));
        assert_eq!(error.message.len(), LONGEST_MESSAGE);
    }
}

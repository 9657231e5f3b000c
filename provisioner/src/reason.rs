//! The stable reason codes: why a device was let in, or not. `docs/reason-codes.md` is compared with this by a test.

use jitp_templates::nearest::{nearest, quoted};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal),+ $(,)?) => {
        /// Why a device was let in, or not. Codes never change their meaning and are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum ReasonCode {
            $($(#[doc = $doc])+ #[serde(rename = $code)] $variant),+
        }
        impl ReasonCode {
            /// All codes, in the order of the documentation.
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$variant),+];
            /// The code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(ReasonCode::$variant => $code),+ }
            }
            /// What it means, for a person.
            pub const fn meaning(self) -> &'static str {
                match self { $(ReasonCode::$variant => concat!($($doc),+).trim_ascii()),+ }
            }
        }
        impl std::str::FromStr for ReasonCode {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|c| c.as_str() == text).ok_or_else(|| unknown(text))
            }
        }
        impl std::fmt::Display for ReasonCode {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// The device was provisioned: by its CA's template on this connection, or by RegisterThing.
    Provisioned = "PROVISIONED",
    /// The certificate was registered (JITR) and waits for an operator to activate it.
    RegisteredPendingActivation = "REGISTERED_PENDING_ACTIVATION",
    /// The connection did not speak TLS, or its handshake failed.
    TlsHandshakeFailed = "TLS_HANDSHAKE_FAILED",
    /// The client offered no certificate.
    NotAuthenticated = "NOT_AUTHENTICATED",
    /// The client's certificate could not be parsed.
    CertificateMalformed = "DEVICE_CERTIFICATE_MALFORMED",
    /// The certificate's key or signature algorithm is refused (SHA-1, MD5, RSA below 2048 bits, unknown curve).
    CertificateAlgorithmRefused = "DEVICE_CERTIFICATE_ALGORITHM_REFUSED",
    /// The certificate has expired.
    CertificateExpired = "DEVICE_CERTIFICATE_EXPIRED",
    /// The certificate is not valid yet: a device clock that starts in 1970 is the usual cause.
    CertificateNotYetValid = "DEVICE_CERTIFICATE_NOT_YET_VALID",
    /// The certificate is unknown and no registered CA's key signed it.
    CertificateNotRegistered = "DEVICE_CERTIFICATE_NOT_REGISTERED",
    /// A registered CA has the issuer's name, but its key did not sign this certificate.
    IssuerImpostor = "ISSUER_SIGNATURE_MISMATCH",
    /// The certificate is a registered one with another value of its signature, and so another id.
    CertificateAltered = "DEVICE_CERTIFICATE_ALTERED",
    /// The certificate is INACTIVE.
    CertificateInactive = "DEVICE_CERTIFICATE_INACTIVE",
    /// The certificate is REVOKED.
    CertificateRevoked = "DEVICE_CERTIFICATE_REVOKED",
    /// The certificate is PENDING_TRANSFER.
    CertificatePendingTransfer = "DEVICE_CERTIFICATE_PENDING_TRANSFER",
    /// The certificate waits for activation (JITR) and its CA has no template.
    CertificatePendingActivation = "DEVICE_CERTIFICATE_PENDING_ACTIVATION",
    /// The issuing CA is registered but INACTIVE.
    CaInactive = "CA_CERTIFICATE_INACTIVE",
    /// The issuing CA is registered and active, but its auto-registration is disabled.
    CaAutoRegistrationDisabled = "CA_CERTIFICATE_AUTO_REGISTRATION_DISABLED",
    /// The issuing CA's own certificate has expired or is not valid yet: it registers nothing new.
    CaExpired = "CA_CERTIFICATE_EXPIRED",
    /// The CA that registered this pending certificate has been deleted.
    CaDeleted = "CA_CERTIFICATE_DELETED",
    /// The template does not exist (any more), or is of another type: a CA needs JITP, RegisterThing FLEET_PROVISIONING.
    TemplateNotFound = "TEMPLATE_NOT_FOUND",
    /// The stored template does not validate.
    TemplateInvalid = "TEMPLATE_INVALID",
    /// The fleet template is not enabled.
    TemplateDisabled = "TEMPLATE_DISABLED",
    /// A declared template parameter has no value: the certificate's subject lacks the attribute, or the device did not send it.
    MissingParameter = "TEMPLATE_PARAMETER_MISSING",
    /// A template value is not a legal name or attribute.
    InvalidValue = "TEMPLATE_VALUE_INVALID",
    /// The template names a thing group that does not exist.
    ThingGroupNotFound = "THING_GROUP_NOT_FOUND",
    /// The template names a thing type that does not exist.
    ThingTypeNotFound = "THING_TYPE_NOT_FOUND",
    /// The template names a thing type that is deprecated.
    ThingTypeDeprecated = "THING_TYPE_DEPRECATED",
    /// The template names a billing group that does not exist.
    BillingGroupNotFound = "BILLING_GROUP_NOT_FOUND",
    /// The template names a policy that does not exist.
    PolicyNotFound = "POLICY_NOT_FOUND",
    /// An override of the template says FAIL and the existing resource differs, or an exclusive attachment forbids it.
    ResourceConflict = "RESOURCE_CONFLICT",
    /// A limit of the registry would be exceeded.
    LimitExceeded = "LIMIT_EXCEEDED",
    /// This certificate has tried too often; try again after a second.
    CertificateRateExceeded = "CERTIFICATE_RATE_EXCEEDED",
    /// The CA's provisioning budget (runs per second) is used up; try again later.
    CaRateExceeded = "CA_RATE_EXCEEDED",
    /// The CA's total provisioning budget is used up; an operator must raise it.
    CaBudgetExhausted = "CA_BUDGET_EXHAUSTED",
    /// The run outlasted its deadline and goes on in the background; try again.
    ProvisioningTimeout = "PROVISIONING_TIMEOUT",
    /// The registry cannot be written (disk full or failing); nothing is provisioned until it can.
    RegistryUnavailable = "REGISTRY_UNAVAILABLE",
    /// The request to register a thing is not JSON or CBOR, or a member has another type than it should.
    RequestMalformed = "REQUEST_MALFORMED",
    /// The certificate ownership token is missing, malformed, expired or foreign, or was used with another template.
    OwnershipTokenInvalid = "OWNERSHIP_TOKEN_INVALID",
    /// The template's pre-provisioning hook said no.
    HookDenied = "HOOK_DENIED",
    /// The template's pre-provisioning hook could not be asked, was too slow, or gave no clear answer: that means no.
    HookFailed = "HOOK_FAILED",
    /// As many calls of the pre-provisioning hook as allowed are under way; try again.
    HookBusy = "HOOK_BUSY",
    /// More requests of fleet provisioning have come than the configured rate or the connection's queue allows; try again.
    FleetRateExceeded = "FLEET_RATE_EXCEEDED",
    /// The client sent no server name (SNI) where one is required, or an unknown one.
    SniMisused = "SNI_MISUSED",
    /// No policy of the principal allows this connection or its will.
    NotAuthorized = "AUTHORIZATION_FAILURE",
    /// Something failed inside the broker; the log has the details.
    Internal = "INTERNAL_SERVER_ERROR",
}

/// For a person who wrote what is no code.
fn unknown(text: &str) -> String {
    let codes = || ReasonCode::ALL.iter().map(|code| code.as_str());
    // A code is often remembered without its first word.
    let part = || codes().find(|code| text.len() > 3 && code.ends_with(&text.to_ascii_uppercase()));
    let shown = quoted(text);
    match nearest(text, codes()).or_else(part) {
        Some(near) => {
            format!("{shown} is no reason code: did you mean {near}? docs/reason-codes.md explains them all")
        }
        None => {
            let all = codes().collect::<Vec<_>>().join(", ");
            format!("{shown} is no reason code; docs/reason-codes.md explains them all: {all}")
        }
    }
}

impl ReasonCode {
    /// The same certificate may succeed later without anyone doing anything.
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::CertificateRateExceeded
                | Self::CaRateExceeded
                | Self::ProvisioningTimeout
                | Self::RegistryUnavailable
                | Self::HookBusy
                | Self::FleetRateExceeded
        )
    }
    /// Who has to act on a failed provisioning run: the broker's operator because the broker itself failed (`true`),
    /// or the owner of the template, the CA or the device (`false`). Decides between the metrics
    /// `ProvisionThing.ServerError` and `ProvisionThing.ClientError`.
    pub const fn is_server_error(self) -> bool {
        matches!(self, Self::ProvisioningTimeout | Self::RegistryUnavailable | Self::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::ReasonCode;
    use std::collections::BTreeSet;

    /// The rows of the table in the documentation: code and meaning.
    fn documented() -> Vec<(String, String)> {
        include_str!("../../docs/reason-codes.md")
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let code = cells.next().unwrap().trim_matches('`').to_owned();
                (code, cells.next().unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn the_documentation_lists_every_code_with_its_meaning_in_order() {
        let code: Vec<(String, String)> =
            ReasonCode::ALL.iter().map(|r| (r.as_str().to_owned(), r.meaning().to_owned())).collect();
        assert_eq!(documented(), code);
    }

    #[test]
    fn codes_are_unique_upper_case_and_read_back() {
        let codes: BTreeSet<&str> = ReasonCode::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(codes.len(), ReasonCode::ALL.len());
        for reason in ReasonCode::ALL {
            assert!(reason.as_str().chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{reason}");
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
    }

    #[test]
    fn what_is_no_code_is_told_the_nearest_one_or_all() {
        let refused = |text: &str| text.parse::<ReasonCode>().unwrap_err();
        for (text, near) in [
            ("PROVISIOND", "PROVISIONED"),
            ("provisioned", "PROVISIONED"),
            ("device-certificate-expired", "DEVICE_CERTIFICATE_EXPIRED"),
            ("NOT_YET_VALID", "DEVICE_CERTIFICATE_NOT_YET_VALID"),
            ("rate_exceeded", "CA_RATE_EXCEEDED"),
        ] {
            assert!(refused(text).contains(&format!("is no reason code: did you mean {near}?")), "{text}");
        }
        let message = refused("NO_SUCH_CODE");
        assert!(ReasonCode::ALL.iter().all(|code| message.contains(code.as_str())), "{message}");
        assert!(refused(&"x".repeat(9000)).len() < 3000);
    }
}

//! How a connection ends: what the client is told, what the presence event says, whether the will is
//! published.
use super::codec::Violation;
use crate::backend::{Close, SessionEnd};
use crate::events::DisconnectReason;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode as Code;
use std::borrow::Cow;
use std::time::Duration;

/// Why an established connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client said DISCONNECT.
    Goodbye { with_will: bool, session_expiry: Option<Duration> },
    /// TCP or TLS ended, or the client takes no data.
    Lost(Cow<'static, str>),
    /// Silent for one and a half times its keep alive.
    Silent { seconds: u64 },
    /// The client broke the protocol or a limit.
    Violation(Violation),
    /// It did what its policies do not allow, in a way that can only be answered by closing.
    Forbidden(Violation),
    /// A limit that is not the client's fault alone.
    Throttled(Cow<'static, str>),
    /// Messages came faster than they may.
    TooFast(Cow<'static, str>),
    /// Someone else ended the session.
    Session(SessionEnd),
}

impl Ending {
    /// What an MQTT 5 client is told; `None`: nothing, it left.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Goodbye { .. } | Self::Lost(_) => None,
            Self::Silent { .. } => Some(Code::KeepAliveTimeout),
            Self::Violation(violation) | Self::Forbidden(violation) => Some(violation.code),
            Self::Throttled(_) => Some(Code::QuotaExceeded),
            Self::TooFast(_) => Some(Code::MessageRateTooHigh),
            Self::Session(end) => Some(match end {
                SessionEnd::TakenOver => Code::SessionTakenOver,
                SessionEnd::Administrative { .. } => Code::AdministrativeAction,
                SessionEnd::CertificateInactive
                | SessionEnd::CertificateExpired
                | SessionEnd::NotAuthorised => Code::NotAuthorized,
                SessionEnd::ShuttingDown => Code::ServerShuttingDown,
            }),
        }
    }

    /// `disconnectReason` (`spec/events.md` section 4).
    pub(super) fn presence(&self) -> DisconnectReason {
        match self {
            Self::Goodbye { .. } => DisconnectReason::ClientInitiatedDisconnect,
            Self::Lost(_) => DisconnectReason::ConnectionLost,
            Self::Silent { .. } => DisconnectReason::MqttKeepAliveTimeout,
            Self::Violation(_) => DisconnectReason::ClientError,
            Self::Forbidden(_) => DisconnectReason::AuthError,
            Self::Throttled(_) | Self::TooFast(_) => DisconnectReason::Throttled,
            Self::Session(end) => match end {
                SessionEnd::TakenOver => DisconnectReason::DuplicateClientid,
                SessionEnd::Administrative { .. } => DisconnectReason::ApiInitiatedDisconnect,
                SessionEnd::CertificateInactive | SessionEnd::CertificateExpired => {
                    DisconnectReason::AuthError
                }
                SessionEnd::NotAuthorised => DisconnectReason::ForbiddenAccess,
                SessionEnd::ShuttingDown => DisconnectReason::ServerInitiatedDisconnect,
            },
        }
    }

    /// How the session is left. `will_allowed`: the policies still allow the will to be published.
    pub(super) fn close(&self, will_allowed: impl FnOnce() -> bool) -> Close {
        let (wanted, session_expiry) = match self {
            Self::Goodbye { with_will, session_expiry } => (*with_will, *session_expiry),
            Self::Session(SessionEnd::Administrative { prevent_will, .. }) => (!prevent_will, None),
            _ => (true, None),
        };
        Close { publish_will: wanted && will_allowed(), session_expiry }
    }

    /// Someone did what they must not, or no longer may. A client that goes away, as clients do, or comes back by
    /// another connection, is none: AWS logs these, too, as a `Disconnect` that succeeded.
    pub(super) fn is_a_failure(&self) -> bool {
        match self {
            Self::Goodbye { .. } | Self::Lost(_) | Self::Silent { .. } => false,
            Self::Violation(_) | Self::Forbidden(_) | Self::Throttled(_) | Self::TooFast(_) => true,
            Self::Session(end) => match end {
                SessionEnd::TakenOver | SessionEnd::Administrative { .. } | SessionEnd::ShuttingDown => false,
                SessionEnd::CertificateInactive
                | SessionEnd::CertificateExpired
                | SessionEnd::NotAuthorised => true,
            },
        }
    }

    /// For the log: what happened, and to whom to turn.
    pub(super) fn details(&self) -> Cow<'static, str> {
        match self {
            Self::Goodbye { with_will: false, .. } => "the client disconnected".into(),
            Self::Goodbye { with_will: true, .. } => "the client disconnected and asked for its will".into(),
            Self::Lost(how) => how.clone(),
            Self::Silent { seconds } => {
                format!("nothing came for {seconds} s, which is one and a half times the keep alive").into()
            }
            Self::Violation(violation) => format!("the client sent {}", violation.message).into(),
            Self::Forbidden(violation) => violation.message.clone(),
            Self::Throttled(how) => how.clone(),
            Self::TooFast(what) => format!("the client sent {what}").into(),
            Self::Session(end) => match end {
                SessionEnd::TakenOver => "a new connection with the same client id took over".into(),
                SessionEnd::Administrative { .. } => "an operator ended the connection".into(),
                SessionEnd::CertificateInactive => "the certificate is no longer ACTIVE".into(),
                SessionEnd::CertificateExpired => "the certificate expired during the connection".into(),
                SessionEnd::NotAuthorised => "the policies no longer allow the connection".into(),
                SessionEnd::ShuttingDown => "the broker is shutting down".into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_goodbye_suppresses_the_will() {
        let goodbye =
            |with_will| Ending::Goodbye { with_will, session_expiry: None }.close(|| true).publish_will;
        assert!(!goodbye(false));
        assert!(goodbye(true));
        assert!(Ending::Silent { seconds: 90 }.close(|| true).publish_will);
        assert!(Ending::Session(SessionEnd::TakenOver).close(|| true).publish_will);
        let end = SessionEnd::Administrative { prevent_will: true, clean_session: false };
        assert!(!Ending::Session(end).close(|| true).publish_will);
    }

    #[test]
    fn a_will_that_is_no_longer_allowed_is_not_published() {
        assert!(!Ending::Lost("".into()).close(|| false).publish_will);
    }

    #[test]
    fn a_client_that_only_goes_away_is_no_failure() {
        assert!(!Ending::Lost("".into()).is_a_failure());
        assert!(!Ending::Silent { seconds: 90 }.is_a_failure());
        assert!(!Ending::Session(SessionEnd::TakenOver).is_a_failure());
        assert!(Ending::Violation(Violation::malformed("")).is_a_failure());
        assert!(Ending::Session(SessionEnd::CertificateInactive).is_a_failure());
    }

    #[test]
    fn a_revoked_certificate_is_an_authentication_error() {
        let ending = Ending::Session(SessionEnd::CertificateInactive);
        assert_eq!(ending.code(), Some(Code::NotAuthorized));
        assert_eq!(ending.presence(), DisconnectReason::AuthError);
    }
}

//! From when until when a certificate may be used.
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `notBefore` and `notAfter`, inclusive, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Validity {
    /// Is `now` (Unix seconds) inside?
    ///
    /// # Errors
    /// Which side `now` is on. A certificate whose `notAfter` lies before its `notBefore` is never valid.
    pub const fn check(&self, now: i64) -> Result<(), ValidityError> {
        if now < self.not_before {
            Err(ValidityError::NotYetValid { not_before: self.not_before })
        } else if now > self.not_after {
            Err(ValidityError::Expired { not_after: self.not_after })
        } else {
            Ok(())
        }
    }
}

/// A certificate outside its validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValidityError {
    /// A clock that runs behind, on the device's or this side, is the usual cause.
    #[error("the certificate is not valid before {}", text(*.not_before))]
    NotYetValid {
        /// Unix seconds.
        not_before: i64,
    },
    /// The certificate has to be replaced.
    #[error("the certificate expired after {}", text(*.not_after))]
    Expired {
        /// Unix seconds.
        not_after: i64,
    },
}

fn text(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_inside_and_the_seconds_beside_them_are_not() {
        let validity = Validity { not_before: 10, not_after: 20 };
        assert_eq!(validity.check(9), Err(ValidityError::NotYetValid { not_before: 10 }));
        assert_eq!(validity.check(10), Ok(()));
        assert_eq!(validity.check(20), Ok(()));
        assert_eq!(validity.check(21), Err(ValidityError::Expired { not_after: 20 }));
    }

    #[test]
    fn an_error_shows_the_time_as_a_person_writes_it() {
        let error = ValidityError::Expired { not_after: 1_767_225_600 };
        assert_eq!(error.to_string(), "the certificate expired after 2026-01-01T00:00:00Z");
    }
}

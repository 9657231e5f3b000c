//! Links to reports: whoever has one may read that report until it expires, without an access key.
use super::report::ReportType;
use crate::access_key::Secret;
use crate::clock::Timestamp;
use crate::error::RegistryError;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// How long a link works, in milliseconds.
const LIFE: u64 = 3_600_000;

/// What makes a link: goes into its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportLink {
    /// The task.
    pub task_id: String,
    /// The report.
    pub report: ReportType,
    /// From then on it is worthless.
    pub expires: Timestamp,
    /// 64 hexadecimal digits.
    pub signature: String,
}

impl ReportLink {
    /// A link that works for an hour.
    pub(crate) fn sign(secret: &Secret, task_id: &str, report: ReportType, now: Timestamp) -> Self {
        let expires = Timestamp(now.millis().saturating_add(LIFE));
        let tag = hmac::sign(&key(secret), message(task_id, report, expires).as_bytes());
        Self { task_id: task_id.into(), report, expires, signature: hex::encode(tag) }
    }
    /// Was it made here, and does it still work? The comparison takes the same time wherever they differ.
    pub(crate) fn holds(&self, secret: &Secret, now: Timestamp) -> bool {
        let Ok(tag) = hex::decode(&self.signature) else { return false };
        let message = message(&self.task_id, self.report, self.expires);
        hmac::verify(&key(secret), message.as_bytes(), &tag).is_ok() && now < self.expires
    }
}

/// A new secret for the links of a task.
pub(crate) fn new_secret() -> Result<Secret, RegistryError> {
    let mut random = zeroize::Zeroizing::new([0_u8; 32]);
    SystemRandom::new()
        .fill(random.as_mut())
        .map_err(|_| RegistryError::Internal("the operating system gave no random numbers".into()))?;
    Ok(Secret::from(hex::encode(random.as_ref())))
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())
}

fn message(task_id: &str, report: ReportType, expires: Timestamp) -> String {
    format!("jitp report 1\n{task_id}\n{}\n{}", report.as_str(), expires.millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_what_it_names_until_it_expires_and_nothing_else() {
        let (secret, now) = (new_secret().unwrap(), Timestamp(1_767_225_600_000));
        let link = ReportLink::sign(&secret, "task", ReportType::Results, now);
        assert!(link.holds(&secret, now));
        assert!(link.holds(&secret, Timestamp(now.0 + LIFE - 1)));
        assert!(!link.holds(&secret, Timestamp(now.0 + LIFE)));
        assert!(!link.holds(&new_secret().unwrap(), now));
        for other in [
            ReportLink { task_id: "other".into(), ..link.clone() },
            ReportLink { report: ReportType::Errors, ..link.clone() },
            ReportLink { expires: Timestamp(link.expires.0 + 1), ..link.clone() },
            ReportLink { signature: link.signature.replace(['a', '0'], "b"), ..link.clone() },
            ReportLink { signature: link.signature[..62].into(), ..link.clone() },
            ReportLink { signature: String::new(), ..link.clone() },
            ReportLink { signature: "not hex".into(), ..link.clone() },
        ] {
            assert!(!other.holds(&secret, now), "{other:?}");
        }
    }
}

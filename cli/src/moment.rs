//! Moments as people write them: `2026-01-31T12:00:00Z`, or how long ago: `90s`, `15m`, `24h`, `7d`.
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

impl Moment {
    /// For the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::at(text, OffsetDateTime::now_utc()).ok_or_else(|| {
            "expected a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 15m, 24h, 7d".to_owned()
        })
    }

    fn at(text: &str, now: OffsetDateTime) -> Option<Self> {
        let millis = |moment: OffsetDateTime| u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok();
        if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
            return millis(moment).map(Self);
        }
        let unit = match text.chars().last()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return None,
        };
        let count = text.get(..text.len() - 1)?;
        if !count.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let ago = count.parse::<u64>().ok()?.checked_mul(unit * 1000)?;
        millis(now).map(|now| Self(now.saturating_sub(ago)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = OffsetDateTime::from_unix_timestamp(1_000_000).unwrap();
        let at = |text: &str| Moment::at(text, now).map(|moment| moment.0);
        assert_eq!(at("1970-01-01T00:00:01.5Z"), Some(1500));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(at("90s"), Some(999_910_000));
        assert_eq!(at("2h"), Some(992_800_000));
        assert_eq!(at("9999d"), Some(0));
        for bad in ["", "h", "-1h", "+1h", "1", "1w", "yesterday", "99999999999999999999d", "1é", "é"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}

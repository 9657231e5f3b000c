//! Dates in conditions: ISO 8601 as in the W3C note on date and time formats, or seconds since 1970.

/// Nanoseconds since 1970-01-01T00:00Z.
///
/// `2026`, `2026-01`, `2026-01-31`, `2026-01-31T12:00Z`, `2026-01-31T12:00:00.5+02:00`; or, if it is not four digits,
/// a number of seconds.
pub(crate) fn parse(text: &str) -> Option<i128> {
    iso_8601(text).or_else(|| Some(i128::from(text.parse::<i64>().ok()?) * SECOND))
}

const SECOND: i128 = 1_000_000_000;

fn iso_8601(text: &str) -> Option<i128> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = parts.next();
    let day = parts.next();
    if parts.next().is_some() || (time.is_some() && day.is_none()) {
        return None;
    }
    let month = month.map_or(Some(1), |month| digits(month, 2))?;
    let day = day.map_or(Some(1), |day| digits(day, 2))?;
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let time = time.map_or(Some(0), time_of_day)?;
    Some(days_since_1970(year, month, day) * 86_400 * SECOND + time)
}

/// `hh:mm[:ss[.fraction]]` and its zone.
fn time_of_day(text: &str) -> Option<i128> {
    let (clock, offset) = match text.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => {
            let at = text.rfind(['+', '-'])?;
            let (clock, zone) = text.split_at_checked(at)?;
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = hour_and_minute(hours, minutes)?;
            (clock, if zone.starts_with('-') { -minutes } else { minutes })
        }
    };
    let mut parts = clock.splitn(3, ':');
    let minutes = hour_and_minute(parts.next()?, parts.next()?)?;
    let seconds = parts.next().map_or(Some(0), nanoseconds)?;
    Some((minutes - offset) * 60 * SECOND + seconds)
}

fn hour_and_minute(hours: &str, minutes: &str) -> Option<i128> {
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// `ss[.fraction]`; a leap second counts as the next one, digits after the ninth do not count.
fn nanoseconds(text: &str) -> Option<i128> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = digits(seconds, 2)?;
    if seconds > 60 || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: i128 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(seconds * SECOND + fraction)
}

fn digits(text: &str, count: usize) -> Option<i128> {
    let all_digits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

const fn days_in(year: i128, month: i128) -> i128 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The year is taken to start in March, so that the leap day is its last day.
const fn days_since_1970(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_a_date_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970", 0),
            ("0", 0),
            ("-1", -1),
            ("2000-03-01", 951_868_800),
            ("2024-02-29", 1_709_164_800),
            ("2026-01", 1_767_225_600),
            ("2026-01-31T12:00Z", 1_769_860_800),
            ("2026-01-31T12:00:30+02:00", 1_769_853_630),
            ("2026-01-31T12:00:30-02:30", 1_769_869_830),
            ("1767225600", 1_767_225_600),
        ] {
            assert_eq!(parse(text), Some(seconds * SECOND), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00.25Z"), Some(SECOND / 4));
        assert_eq!(parse("1970-01-01T00:00:00.0000000019Z"), Some(1));
    }

    #[test]
    fn other_text_is_no_date() {
        for text in [
            "",
            "soon",
            "2026-13",
            "2026-02-29",
            "2026-1-1",
            "2026-01-31T12:00",
            "2026-01T12:00Z",
            "2026-01-31T24:00Z",
            "2026-01-31T12Z",
            "2026-01-31T12:00:30.Z",
            "2026-01-31T12:00:30.xZ",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

//! Which of the certificates that wait are meant: by their subjects, by their serial numbers.
use jitp_certs::{Attribute, Certificate};
use std::collections::BTreeSet;

/// Subject patterns that must all hold, and serial numbers of which one must.
#[derive(Debug, Default)]
pub struct Rule {
    subjects: Vec<(Attribute, String)>,
    serials: Option<BTreeSet<String>>,
}

impl Rule {
    /// From `ATTRIBUTE=PATTERN`s, in which `*` stands for any text and `?` for any character, and from lines whose first
    /// column is a serial number. The error is for a person.
    pub fn new(subjects: &[String], serials: Option<&str>) -> Result<Self, String> {
        let subjects = subjects.iter().map(|text| subject(text)).collect::<Result<_, _>>()?;
        Ok(Self { subjects, serials: serials.map(self::serials).transpose()? })
    }

    /// Is this one meant?
    pub fn means(&self, certificate: &Certificate) -> bool {
        let subject = certificate.subject();
        let holds = |(attribute, pattern): &(Attribute, String)| {
            subject.all(*attribute).any(|value| matches(pattern, value))
        };
        self.subjects.iter().all(holds)
            && self.serials.as_ref().is_none_or(|serials| {
                normal(certificate.serial_number()).is_some_and(|serial| serials.contains(&serial))
            })
    }
}

fn subject(text: &str) -> Result<(Attribute, String), String> {
    let known = || {
        let names: Vec<&str> = Attribute::ALL.iter().map(|attribute| attribute.short_name()).collect();
        format!("--subject {text:?}: expected ATTRIBUTE=PATTERN with one of {}", names.join(", "))
    };
    let (name, pattern) = text.split_once('=').ok_or_else(known)?;
    let attribute = Attribute::ALL.into_iter().find(|a| a.short_name().eq_ignore_ascii_case(name.trim()));
    Ok((attribute.ok_or_else(known)?, pattern.to_owned()))
}

fn serials(text: &str) -> Result<BTreeSet<String>, String> {
    let mut serials = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let first = line.split([',', ';', '\t']).next().unwrap_or_default().trim().trim_matches('"').trim();
        if first.is_empty() {
            continue;
        }
        match normal(first) {
            Some(serial) => drop(serials.insert(serial)),
            // A heading.
            None if number == 0 => {}
            None => {
                return Err(format!(
                    "line {}: {first:?} is not a serial number in hexadecimal digits",
                    number + 1
                ));
            }
        }
    }
    Ok(serials)
}

/// Lower-case hexadecimal digits without what tools put around and between them, and without zeros in front.
fn normal(serial: &str) -> Option<String> {
    let serial = serial.strip_prefix("0x").or(serial.strip_prefix("0X")).unwrap_or(serial);
    let digits: String =
        serial.chars().filter(|c| !matches!(c, ':' | ' ')).collect::<String>().to_lowercase();
    let legal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    legal.then(|| digits.trim_start_matches('0').to_owned())
}

/// Does a pattern match all of a text? Takes time with the product of their lengths, at most.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    // Which beginnings of the text a beginning of the pattern matches.
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for part in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut any = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let here = reached.get(at).copied().unwrap_or(false);
            any |= here;
            *slot = match part {
                '*' => any,
                _ => at.checked_sub(1).is_some_and(|before| {
                    reached.get(before).copied().unwrap_or(false)
                        && text.get(before).is_some_and(|c| part == '?' || *c == part)
                }),
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jitp_certs::{Authority, KeyKind, LeafRequest, Validity};

    fn device(subject: &[(Attribute, &str)]) -> Certificate {
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let name = [(Attribute::CommonName, "CA".into())];
        let authority = Authority::create(&name, validity, KeyKind::EcP256).unwrap();
        let subject = subject.iter().map(|(a, v)| (*a, (*v).to_owned())).collect();
        authority.issue_device(&LeafRequest { subject, validity, key: KeyKind::EcP256 }).unwrap().certificate
    }

    #[test]
    fn patterns_match_all_of_a_value() {
        for (pattern, text, expected) in [
            ("plant-a-*", "plant-a-7", true),
            ("plant-a-*", "plant-a-", true),
            ("plant-a-*", "plant-b-7", false),
            ("plant-a-*", "xplant-a-7", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "ü", true),
            ("?", "", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("*a", "ba", true),
            ("a.c", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(500), &"a".repeat(400)), "and takes no time to find out");
    }

    #[test]
    fn every_subject_pattern_must_hold_for_a_value_of_its_attribute() {
        let pump = device(&[
            (Attribute::CommonName, "plant-a-7"),
            (Attribute::OrganizationalUnit, "line-1"),
            (Attribute::OrganizationalUnit, "line-2"),
        ]);
        let means = |subjects: &[&str]| {
            let subjects: Vec<String> = subjects.iter().map(|text| (*text).to_owned()).collect();
            Rule::new(&subjects, None).unwrap().means(&pump)
        };
        assert!(means(&[]) && means(&["CN=plant-a-*"]) && means(&["cn=plant-a-*", "OU=line-2"]));
        assert!(!means(&["CN=plant-b-*"]) && !means(&["CN=plant-a-*", "OU=line-3"]) && !means(&["O=*"]));
        for wrong in ["plant-a-*", "XX=a", "=a"] {
            assert!(Rule::new(&[wrong.into()], None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn serial_numbers_are_read_as_tools_write_them() {
        let pump = device(&[(Attribute::CommonName, "pump")]);
        let serial = normal(pump.serial_number()).unwrap();
        let pairs: Vec<String> = format!("{serial:0>40}")
            .as_bytes()
            .chunks(2)
            .map(|p| String::from_utf8_lossy(p).to_uppercase())
            .collect();
        let colons = pairs.join(":");
        for list in [
            serial.clone(),
            format!("serial,name\n{serial},pump\n"),
            format!("\"0x00{serial}\";pump"),
            format!("00\n\n{colons}\tx\n"),
        ] {
            assert!(Rule::new(&[], Some(&list)).unwrap().means(&pump), "{list}");
        }
        assert!(!Rule::new(&[], Some("00")).unwrap().means(&pump));
        assert!(!Rule::new(&[], Some("")).unwrap().means(&pump));
        assert!(Rule::new(&[], Some("serial\nnonsense")).unwrap_err().contains("line 2"));
    }
}

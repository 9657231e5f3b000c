//! The values that a device's template is run with (`spec/templates.md` section 2).
use crate::names::CertificateId;
use jitp_templates::Parameters;

/// Characters of a parameter's name and value, at most (`spec/quotas.md` section 3).
const LONGEST_NAME: usize = 2048;
const LONGEST_VALUE: usize = 4096;
/// Names that only the broker fills.
const OWN_NAMES: &str = "AWS::";
const CERTIFICATE_ID: &str = "AWS::IoT::Certificate::Id";

/// Whether names and values are short enough; the text says which is not.
pub(super) fn check(values: &Parameters) -> Result<(), String> {
    for (name, value) in values {
        let shown: String = name.chars().take(64).collect();
        if name.chars().count() > LONGEST_NAME {
            return Err(format!("the name {shown:?}… has more than {LONGEST_NAME} characters"));
        }
        if value.chars().count() > LONGEST_VALUE {
            return Err(format!("the value of {shown:?} has more than {LONGEST_VALUE} characters"));
        }
    }
    Ok(())
}

/// What a device sent, without what it may not say.
pub(super) fn sent(values: Parameters) -> Parameters {
    values.into_iter().filter(|(name, _)| !name.starts_with(OWN_NAMES)).collect()
}

/// The values of a run: the hook's before the device's, and the broker's own.
pub(super) fn of_run(sent: &Parameters, overrides: Parameters, certificate: CertificateId) -> Parameters {
    let mut values = sent.clone();
    values.extend(overrides);
    values.insert(CERTIFICATE_ID.into(), certificate.to_string());
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn the_hook_wins_over_the_device_and_neither_says_what_the_broker_says() {
        let id = CertificateId::from_bytes([7; 32]);
        let device =
            sent(values(&[("Serial", "1"), ("Site", "lab"), (CERTIFICATE_ID, "00"), ("AWS::x", "y")]));
        assert_eq!(device, values(&[("Serial", "1"), ("Site", "lab")]));
        let run = of_run(&device, values(&[("Site", "oslo"), ("Line", "7")]), id);
        let id = id.to_string();
        assert_eq!(run, values(&[("Serial", "1"), ("Site", "oslo"), ("Line", "7"), (CERTIFICATE_ID, &id)]));
    }

    #[test]
    fn names_and_values_have_a_longest_length_in_characters() {
        let long = |n: usize| "ü".repeat(n);
        assert!(check(&values(&[(&long(2048), &long(4096))])).is_ok());
        assert!(check(&values(&[(&long(2049), "")])).unwrap_err().contains("2048"));
        assert!(check(&values(&[("a", &long(4097))])).unwrap_err().contains("\"a\""));
    }
}

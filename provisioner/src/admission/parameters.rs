//! The template parameters that a certificate fills in (`spec/jitp.md` section 6).
use jitp_certs::{Attribute, Certificate};
use jitp_templates::{Parameters, Template};

/// Parameter names and the subject attribute each is read from.
const FROM_SUBJECT: [(&str, Attribute); 7] = [
    ("AWS::IoT::Certificate::Country", Attribute::Country),
    ("AWS::IoT::Certificate::Organization", Attribute::Organization),
    ("AWS::IoT::Certificate::OrganizationalUnit", Attribute::OrganizationalUnit),
    ("AWS::IoT::Certificate::DistinguishedNameQualifier", Attribute::DistinguishedNameQualifier),
    ("AWS::IoT::Certificate::StateName", Attribute::State),
    ("AWS::IoT::Certificate::CommonName", Attribute::CommonName),
    (SERIAL_NUMBER, Attribute::SerialNumber),
];
const SERIAL_NUMBER: &str = "AWS::IoT::Certificate::SerialNumber";
const ID: &str = "AWS::IoT::Certificate::Id";

/// Every parameter that the certificate has a value for. Values are as they stand in the subject, never rewritten;
/// of an attribute that occurs more than once the first counts, and an empty value counts as missing.
/// `serial_fallback`: the X.509 serial number, in hex, stands in for a missing `SerialNumber`.
pub(crate) fn bind(leaf: &Certificate, serial_fallback: bool) -> Parameters {
    let mut values: Parameters = FROM_SUBJECT
        .into_iter()
        .filter_map(|(name, attribute)| Some((name.to_owned(), leaf.subject().first(attribute)?.to_owned())))
        .collect();
    if serial_fallback {
        values.entry(SERIAL_NUMBER.to_owned()).or_insert_with(|| leaf.serial_number().to_owned());
    }
    values.insert(ID.to_owned(), leaf.id().to_string());
    values
}

/// The values of the parameters that a template declares: what a run is remembered by.
pub(crate) fn declared(template: &Template, values: &Parameters) -> Parameters {
    template
        .parameters()
        .filter_map(|(name, default)| {
            Some((name.to_owned(), values.get(name).map(String::as_str).or(default)?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jitp_certs::{Authority, KeyKind, LeafRequest, Validity};

    fn bound(subject: &[(Attribute, &str)], serial_fallback: bool) -> (Parameters, Certificate) {
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let ca =
            Authority::create(&[(Attribute::CommonName, "Plant".into())], validity, KeyKind::EcP256).unwrap();
        let subject = subject.iter().map(|(a, v)| (*a, (*v).to_owned())).collect();
        let request = LeafRequest { subject, validity, key: KeyKind::EcP256 };
        let leaf = ca.issue_device(&request).unwrap().certificate;
        (bind(&leaf, serial_fallback), leaf)
    }

    #[test]
    fn every_parameter_comes_from_its_subject_attribute_as_it_stands_there() {
        let rows = [
            (Attribute::Country, "NO", "Country"),
            (Attribute::Organization, "Blue Gate Ltd", "Organization"),
            (Attribute::OrganizationalUnit, "Line 7", "OrganizationalUnit"),
            (Attribute::DistinguishedNameQualifier, "q", "DistinguishedNameQualifier"),
            (Attribute::State, "Oslo", "StateName"),
            (Attribute::CommonName, "${x} {\"Ref\":1}", "CommonName"),
            (Attribute::SerialNumber, "K-0042", "SerialNumber"),
        ];
        let subject: Vec<_> = rows.iter().map(|(attribute, value, _)| (*attribute, *value)).collect();
        let (values, leaf) = bound(&subject, true);
        for (_, value, name) in rows {
            assert_eq!(values[&format!("AWS::IoT::Certificate::{name}")], value);
        }
        assert_eq!(values["AWS::IoT::Certificate::Id"], leaf.id().to_string());
        assert_eq!(values.len(), 8);
    }

    #[test]
    fn the_first_of_several_values_counts_and_a_missing_one_is_absent() {
        let (values, _) =
            bound(&[(Attribute::OrganizationalUnit, "a"), (Attribute::OrganizationalUnit, "b")], false);
        assert_eq!(values["AWS::IoT::Certificate::OrganizationalUnit"], "a");
        assert_eq!(values.len(), 2, "{values:?}");
    }

    #[test]
    fn the_serial_number_of_the_certificate_stands_in_only_where_configured() {
        let subject = [(Attribute::CommonName, "pump-1")];
        assert!(!bound(&subject, false).0.contains_key(SERIAL_NUMBER));
        let (values, leaf) = bound(&subject, true);
        assert_eq!(values[SERIAL_NUMBER], leaf.serial_number());
    }
}

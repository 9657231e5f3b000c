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

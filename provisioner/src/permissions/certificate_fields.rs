//! The certificate as policy variables see it (`spec/policies.md` section 5).
use jitp_certs::{AlternativeName, Attribute, Certificate, DistinguishedName};
use std::collections::BTreeMap;

/// `Subject.CommonName`, `Issuer.AlternativeName.DNSName` and so on, to all values in encoding order.
pub(crate) fn certificate_fields(leaf: &Certificate) -> BTreeMap<String, Vec<String>> {
    let mut fields = BTreeMap::new();
    names(&mut fields, "Subject", leaf.subject(), leaf.subject_alternative_names());
    names(&mut fields, "Issuer", leaf.issuer(), leaf.issuer_alternative_names());
    fields
}

fn names(
    fields: &mut BTreeMap<String, Vec<String>>,
    owner: &str,
    name: &DistinguishedName,
    alternatives: &[AlternativeName],
) {
    for attribute in Attribute::ALL {
        let values: Vec<String> = name.all(attribute).map(str::to_owned).collect();
        if !values.is_empty() {
            fields.insert(format!("{owner}.{}", attribute.policy_name()), values);
        }
    }
    for alternative in alternatives {
        let (kind, value) = match alternative {
            AlternativeName::Rfc822Name(value) => ("RFC822Name", value),
            AlternativeName::DnsName(value) => ("DNSName", value),
            AlternativeName::DirectoryName(value) => ("DirectoryName", value),
            AlternativeName::UniformResourceIdentifier(value) => ("UniformResourceIdentifier", value),
            AlternativeName::IpAddress(value) => ("IPAddress", value),
        };
        fields.entry(format!("{owner}.AlternativeName.{kind}")).or_default().push(value.clone());
    }
}

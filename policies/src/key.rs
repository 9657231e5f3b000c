//! The names of variables and condition keys (`spec/policies.md` sections 5 and 8).
use std::fmt;

/// What a variable or a condition key refers to. Names are read in any case, except for names of attributes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    ClientId,
    SourceIp,
    DomainName,
    CertificateId,
    CertificateSerialNumber,
    /// A name out of [`CERTIFICATE_FIELDS`].
    CertificateField {
        field: &'static str,
        pick: Pick,
    },
    AvailableKeys,
    ThingName,
    ThingTypeName,
    ThingAttribute(Box<str>),
    ThingIsAttached,
    ConnectAttributes,
    LastWillTopic,
    /// No such key: never has a value.
    Unknown(Box<str>),
}

/// Which of the values of a certificate field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pick {
    /// No suffix.
    First,
    /// `.1` is the second value (section 11).
    Index(usize),
    /// `.List`, in conditions.
    List,
}

/// Fields of a certificate, as in `iot:Certificate.<field>`.
pub(crate) const CERTIFICATE_FIELDS: [&str; 36] = [
    "Subject.DistinguishedNameQualifier",
    "Subject.Country",
    "Subject.Organization",
    "Subject.OrganizationalUnit",
    "Subject.State",
    "Subject.CommonName",
    "Subject.SerialNumber",
    "Subject.Title",
    "Subject.Surname",
    "Subject.GivenName",
    "Subject.Initials",
    "Subject.Pseudonym",
    "Subject.GenerationQualifier",
    "Subject.AlternativeName.RFC822Name",
    "Subject.AlternativeName.DNSName",
    "Subject.AlternativeName.DirectoryName",
    "Subject.AlternativeName.UniformResourceIdentifier",
    "Subject.AlternativeName.IPAddress",
    "Issuer.DistinguishedNameQualifier",
    "Issuer.Country",
    "Issuer.Organization",
    "Issuer.OrganizationalUnit",
    "Issuer.State",
    "Issuer.CommonName",
    "Issuer.SerialNumber",
    "Issuer.Title",
    "Issuer.Surname",
    "Issuer.GivenName",
    "Issuer.Initials",
    "Issuer.Pseudonym",
    "Issuer.GenerationQualifier",
    "Issuer.AlternativeName.RFC822Name",
    "Issuer.AlternativeName.DNSName",
    "Issuer.AlternativeName.DirectoryName",
    "Issuer.AlternativeName.UniformResourceIdentifier",
    "Issuer.AlternativeName.IPAddress",
];

/// Keys whose name is fixed. The first of two names for one key is the one to show.
const FIXED: [(&str, Key); 12] = [
    ("iot:ClientId", Key::ClientId),
    ("aws:SourceIp", Key::SourceIp),
    ("iot:DomainName", Key::DomainName),
    ("iot:CertificateId", Key::CertificateId),
    ("iot:Certificate.SerialNumber", Key::CertificateSerialNumber),
    ("iot:Certificate.AvailableKeys", Key::AvailableKeys),
    ("iot:Connection.Thing.ThingName", Key::ThingName),
    ("iot:Thing.ThingName", Key::ThingName),
    ("iot:Connection.Thing.ThingTypeName", Key::ThingTypeName),
    ("iot:Connection.Thing.IsAttached", Key::ThingIsAttached),
    ("iot:ConnectAttributes", Key::ConnectAttributes),
    ("iot:LastWillTopic", Key::LastWillTopic),
];
const CERTIFICATE_PREFIX: &str = "iot:Certificate.";
const ATTRIBUTES_PREFIX: &str = "iot:Connection.Thing.Attributes[";

impl Key {
    /// Any name is a key; one that does not exist is [`Key::Unknown`].
    pub(crate) fn parse(name: &str) -> Self {
        if let Some((_, key)) = FIXED.iter().find(|(fixed, _)| fixed.eq_ignore_ascii_case(name)) {
            return key.clone();
        }
        if let Some(field) = strip_prefix(name, CERTIFICATE_PREFIX).and_then(Self::certificate_field) {
            return field;
        }
        let attribute = strip_prefix(name, ATTRIBUTES_PREFIX).and_then(|rest| rest.strip_suffix(']'));
        match attribute {
            Some(attribute) if !attribute.is_empty() => Self::ThingAttribute(attribute.into()),
            _ => Self::Unknown(name.into()),
        }
    }

    fn certificate_field(name: &str) -> Option<Self> {
        if let Some(field) = known_field(name) {
            return Some(Self::CertificateField { field, pick: Pick::First });
        }
        let (name, suffix) = name.rsplit_once('.')?;
        let pick = if suffix.eq_ignore_ascii_case("List") {
            Pick::List
        } else if suffix.bytes().all(|byte| byte.is_ascii_digit()) {
            Pick::Index(suffix.parse().ok()?)
        } else {
            return None;
        };
        Some(Self::CertificateField { field: known_field(name)?, pick })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateField { field, pick } => {
                write!(f, "{CERTIFICATE_PREFIX}{field}")?;
                match pick {
                    Pick::First => Ok(()),
                    Pick::Index(index) => write!(f, ".{index}"),
                    Pick::List => f.write_str(".List"),
                }
            }
            Self::ThingAttribute(name) => write!(f, "{ATTRIBUTES_PREFIX}{name}]"),
            Self::Unknown(name) => f.write_str(name),
            fixed => {
                f.write_str(FIXED.iter().find(|(_, key)| key == fixed).map_or_else(|| "", |(name, _)| *name))
            }
        }
    }
}

fn known_field(name: &str) -> Option<&'static str> {
    CERTIFICATE_FIELDS.into_iter().find(|field| field.eq_ignore_ascii_case(name))
}

fn strip_prefix<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_the_documentation_writes_it() {
        for name in [
            "iot:ClientId",
            "aws:SourceIp",
            "iot:DomainName",
            "iot:CertificateId",
            "iot:Certificate.SerialNumber",
            "iot:Certificate.AvailableKeys",
            "iot:Certificate.Subject.CommonName",
            "iot:Certificate.Subject.SerialNumber",
            "iot:Certificate.Issuer.OrganizationalUnit.3",
            "iot:Certificate.Subject.AlternativeName.DNSName.List",
            "iot:Connection.Thing.ThingName",
            "iot:Connection.Thing.ThingTypeName",
            "iot:Connection.Thing.Attributes[Site]",
            "iot:Connection.Thing.IsAttached",
            "iot:ConnectAttributes",
            "iot:LastWillTopic",
        ] {
            let key = Key::parse(name);
            assert!(!matches!(key, Key::Unknown(_)), "{name}");
            assert_eq!(key.to_string(), name);
            if !name.contains('[') {
                assert_eq!(Key::parse(&name.to_uppercase()), key);
            }
        }
    }

    #[test]
    fn the_old_name_of_the_thing_name_is_an_alias() {
        assert_eq!(Key::parse("iot:Thing.ThingName"), Key::ThingName);
        assert_eq!(Key::ThingName.to_string(), "iot:Connection.Thing.ThingName");
    }

    #[test]
    fn anything_else_is_unknown() {
        for name in [
            "",
            "aws:username",
            "iot:Certificate.Subject.StateName",
            "iot:Certificate.Subject.CommonName.",
            "iot:Certificate.Subject.CommonName.+1",
            "iot:Certificate.Subject.CommonName.x",
            "iot:Certificate.Subject.CommonName.99999999999999999999999",
            "iot:Connection.Thing.Attributes[]",
            "iot:Connection.Thing.Attributes[a",
            "iot:Connection.Thing.Attributés[a]",
        ] {
            assert_eq!(Key::parse(name), Key::Unknown(name.into()), "{name}");
        }
    }
}

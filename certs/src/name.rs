//! Distinguished names.
use crate::der::{self, OidBytes};
use crate::id::hex;
use std::fmt::Write;
use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag, oid};
use x509_parser::x509::X509Name;

/// A subject or issuer, decoded to UTF-8, in encoding order. Equal when the DER is.
#[derive(Clone)]
pub struct DistinguishedName {
    der: Box<[u8]>,
    attributes: Vec<(Attribute, String)>,
}

impl DistinguishedName {
    /// The raw DER of the name: what issuer look-up compares.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// First non-empty value in encoding order, `None` when absent or empty.
    pub fn first(&self, attribute: Attribute) -> Option<&str> {
        self.all(attribute).find(|value| !value.is_empty())
    }
    /// All values in encoding order, empty ones included. A value that is no text, or text in a broken
    /// encoding, is there as an empty one.
    pub fn all(&self, attribute: Attribute) -> impl Iterator<Item = &str> {
        self.attributes.iter().filter(move |(a, _)| *a == attribute).map(|(_, v)| v.as_str())
    }

    pub(crate) fn new(name: &X509Name<'_>) -> Self {
        let attributes = name
            .iter_attributes()
            .filter_map(|pair| {
                let attribute = Attribute::from_oid(pair.attr_type().as_bytes())?;
                Some((attribute, text(pair.attr_value()).unwrap_or_default()))
            })
            .collect();
        Self { der: name.as_raw().into(), attributes }
    }
}

impl PartialEq for DistinguishedName {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}
impl Eq for DistinguishedName {}
impl std::hash::Hash for DistinguishedName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.der.hash(state);
    }
}

impl std::fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

impl std::fmt::Display for DistinguishedName {
    /// RFC 4514-like, most specific first, for people. Attributes without a short name show as their OID,
    /// control characters as `\XX`, values that are no text as `#` and hex.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match X509Name::from_der(&self.der) {
            Ok((_, name)) => f.write_str(&display(&name)),
            Err(_) => f.write_str("(unreadable name)"),
        }
    }
}

/// The attributes that templates (`spec/jitp.md` section 6) and policies (`spec/policies.md` section 5) can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// dnQualifier, 2.5.4.46.
    DistinguishedNameQualifier,
    /// C, 2.5.4.6.
    Country,
    /// O, 2.5.4.10.
    Organization,
    /// OU, 2.5.4.11.
    OrganizationalUnit,
    /// ST, 2.5.4.8.
    State,
    /// CN, 2.5.4.3.
    CommonName,
    /// serialNumber, 2.5.4.5: of the subject, not of the certificate.
    SerialNumber,
    /// title, 2.5.4.12.
    Title,
    /// SN, 2.5.4.4.
    Surname,
    /// GN, 2.5.4.42.
    GivenName,
    /// initials, 2.5.4.43.
    Initials,
    /// pseudonym, 2.5.4.65.
    Pseudonym,
    /// generationQualifier, 2.5.4.44.
    GenerationQualifier,
}

impl Attribute {
    /// All, in the order of `spec/policies.md` section 5.
    pub const ALL: [Attribute; 13] = [
        Attribute::DistinguishedNameQualifier,
        Attribute::Country,
        Attribute::Organization,
        Attribute::OrganizationalUnit,
        Attribute::State,
        Attribute::CommonName,
        Attribute::SerialNumber,
        Attribute::Title,
        Attribute::Surname,
        Attribute::GivenName,
        Attribute::Initials,
        Attribute::Pseudonym,
        Attribute::GenerationQualifier,
    ];

    /// The name used in policy variables, for example `CommonName`, `State`.
    pub const fn policy_name(self) -> &'static str {
        match self {
            Attribute::DistinguishedNameQualifier => "DistinguishedNameQualifier",
            Attribute::Country => "Country",
            Attribute::Organization => "Organization",
            Attribute::OrganizationalUnit => "OrganizationalUnit",
            Attribute::State => "State",
            Attribute::CommonName => "CommonName",
            Attribute::SerialNumber => "SerialNumber",
            Attribute::Title => "Title",
            Attribute::Surname => "Surname",
            Attribute::GivenName => "GivenName",
            Attribute::Initials => "Initials",
            Attribute::Pseudonym => "Pseudonym",
            Attribute::GenerationQualifier => "GenerationQualifier",
        }
    }

    /// The name that RFC 4519 and OpenSSL give it, for example `CN`, `ST`.
    pub const fn short_name(self) -> &'static str {
        match self {
            Attribute::DistinguishedNameQualifier => "dnQualifier",
            Attribute::Country => "C",
            Attribute::Organization => "O",
            Attribute::OrganizationalUnit => "OU",
            Attribute::State => "ST",
            Attribute::CommonName => "CN",
            Attribute::SerialNumber => "serialNumber",
            Attribute::Title => "title",
            Attribute::Surname => "SN",
            Attribute::GivenName => "GN",
            Attribute::Initials => "initials",
            Attribute::Pseudonym => "pseudonym",
            Attribute::GenerationQualifier => "generationQualifier",
        }
    }

    const fn oid(self) -> OidBytes {
        match self {
            Attribute::DistinguishedNameQualifier => &oid!(raw 2.5.4.46),
            Attribute::Country => &oid!(raw 2.5.4.6),
            Attribute::Organization => &oid!(raw 2.5.4.10),
            Attribute::OrganizationalUnit => &oid!(raw 2.5.4.11),
            Attribute::State => &oid!(raw 2.5.4.8),
            Attribute::CommonName => &oid!(raw 2.5.4.3),
            Attribute::SerialNumber => &oid!(raw 2.5.4.5),
            Attribute::Title => &oid!(raw 2.5.4.12),
            Attribute::Surname => &oid!(raw 2.5.4.4),
            Attribute::GivenName => &oid!(raw 2.5.4.42),
            Attribute::Initials => &oid!(raw 2.5.4.43),
            Attribute::Pseudonym => &oid!(raw 2.5.4.65),
            Attribute::GenerationQualifier => &oid!(raw 2.5.4.44),
        }
    }

    fn from_oid(oid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|attribute| attribute.oid() == oid)
    }

    /// RFC 5280 appendix A allows nothing but PrintableString for these.
    const fn is_printable_only(self) -> bool {
        matches!(self, Self::Country | Self::SerialNumber | Self::DistinguishedNameQualifier)
    }
}

/// DER of a name with one attribute per RDN, in the order given.
pub(crate) fn encode(attributes: &[(Attribute, String)]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(attribute, value)| {
            let printable = if attribute.is_printable_only() { der::printable_string(value) } else { None };
            let value = printable.unwrap_or_else(|| der::utf8_string(value));
            der::set(&[&der::sequence(&[&der::oid(attribute.oid()), &value])])
        })
        .collect();
    der::sequence(&names.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// RFC 4514-like text, most specific RDN first.
pub(crate) fn display(name: &X509Name<'_>) -> String {
    let mut output = String::new();
    let rdns: Vec<_> = name.iter_rdn().collect();
    for (index, rdn) in rdns.iter().rev().enumerate() {
        if index > 0 {
            output.push(',');
        }
        for (index, pair) in rdn.iter().enumerate() {
            if index > 0 {
                output.push('+');
            }
            let oid = pair.attr_type();
            match SHORT_NAMES.iter().find(|(bytes, _)| *bytes == oid.as_bytes()) {
                Some((_, short)) => output.push_str(short),
                None => output.push_str(&oid_text(oid)),
            }
            output.push('=');
            match text(pair.attr_value()) {
                Some(value) => escape(&value, &mut output),
                None => {
                    output.push('#');
                    output.push_str(&hex(pair.as_slice()));
                }
            }
        }
    }
    output
}

/// Dotted; what is longer than any OID in use is not repeated.
pub(crate) fn oid_text(oid: &Oid<'_>) -> String {
    if oid.as_bytes().len() <= 32 { oid.to_id_string() } else { "(overlong OID)".to_owned() }
}

/// A string of any of the ASN.1 kinds as UTF-8; `None` for other types and broken encodings.
fn text(value: &Any<'_>) -> Option<String> {
    if value.class() != Class::Universal {
        return None;
    }
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        // T.61 in theory; Latin-1 is what all who write TeletexString mean.
        Tag::T61String => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            if rest.is_empty() { char::decode_utf16(units).collect::<Result<_, _>>().ok() } else { None }
        }
        Tag::UniversalString => {
            let (units, rest) = bytes.as_chunks::<4>();
            if rest.is_empty() {
                units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect()
            } else {
                None
            }
        }
        _ => None,
    }
}

fn escape(value: &str, output: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let edge = index == 0 && matches!(character, ' ' | '#') || index == last && character == ' ';
        if edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
            output.push('\\');
            output.push(character);
        } else if character.is_control() {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(output, "\\{byte:02X}");
            }
        } else {
            output.push(character);
        }
    }
}

const SHORT_NAMES: &[(&[u8], &str)] = &[
    (&oid!(raw 2.5.4.3), "CN"),
    (&oid!(raw 2.5.4.4), "SN"),
    (&oid!(raw 2.5.4.5), "serialNumber"),
    (&oid!(raw 2.5.4.6), "C"),
    (&oid!(raw 2.5.4.7), "L"),
    (&oid!(raw 2.5.4.8), "ST"),
    (&oid!(raw 2.5.4.9), "STREET"),
    (&oid!(raw 2.5.4.10), "O"),
    (&oid!(raw 2.5.4.11), "OU"),
    (&oid!(raw 2.5.4.12), "title"),
    (&oid!(raw 2.5.4.42), "GN"),
    (&oid!(raw 2.5.4.43), "initials"),
    (&oid!(raw 2.5.4.44), "generationQualifier"),
    (&oid!(raw 2.5.4.46), "dnQualifier"),
    (&oid!(raw 2.5.4.65), "pseudonym"),
    (&oid!(raw 0.9.2342.19200300.100.1.1), "UID"),
    (&oid!(raw 0.9.2342.19200300.100.1.25), "DC"),
    (&oid!(raw 1.2.840.113549.1.9.1), "emailAddress"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(attributes: &[(Attribute, &str)]) -> DistinguishedName {
        let owned: Vec<_> = attributes.iter().map(|(a, v)| (*a, (*v).to_owned())).collect();
        read(&encode(&owned))
    }
    fn read(der: &[u8]) -> DistinguishedName {
        DistinguishedName::new(&X509Name::from_der(der).unwrap().1)
    }
    /// A name of one attribute CN whose value is `bytes` under `tag`.
    fn common_name(tag: u8, bytes: &[u8]) -> DistinguishedName {
        let value = der::tagged(tag, bytes);
        read(&der::sequence(&[&der::set(&[&der::sequence(&[
            &der::oid(Attribute::CommonName.oid()),
            &value,
        ])])]))
    }

    #[test]
    fn every_attribute_is_read_back_under_its_own_name() {
        let all: Vec<_> = Attribute::ALL.iter().map(|a| (*a, a.policy_name())).collect();
        let name = name(&all);
        for attribute in Attribute::ALL {
            assert_eq!(name.first(attribute), Some(attribute.policy_name()));
        }
    }

    #[test]
    fn repeated_attributes_keep_their_order_and_empty_ones_count_as_missing() {
        use Attribute::{CommonName, Organization, OrganizationalUnit, State};
        let name = name(&[
            (OrganizationalUnit, ""),
            (OrganizationalUnit, "a"),
            (Organization, ""),
            (CommonName, "x"),
            (OrganizationalUnit, "b"),
        ]);
        assert_eq!(name.first(OrganizationalUnit), Some("a"));
        assert_eq!(name.all(OrganizationalUnit).collect::<Vec<_>>(), ["", "a", "b"]);
        assert_eq!(name.first(Organization), None);
        assert_eq!(name.first(State), None);
    }

    #[test]
    fn every_string_type_becomes_utf_8() {
        let cn = |tag, bytes: &[u8]| common_name(tag, bytes).first(Attribute::CommonName).map(str::to_owned);
        assert_eq!(cn(0x0c, "é€😀".as_bytes()).as_deref(), Some("é€😀"), "UTF8String");
        assert_eq!(cn(0x12, b"0123 4").as_deref(), Some("0123 4"), "NumericString");
        assert_eq!(cn(0x13, b"abc").as_deref(), Some("abc"), "PrintableString");
        assert_eq!(cn(0x13, b"a*_@").as_deref(), Some("a*_@"), "PrintableString with other characters");
        assert_eq!(cn(0x14, b"M\xfcller").as_deref(), Some("Müller"), "TeletexString");
        assert_eq!(cn(0x16, b"a@b").as_deref(), Some("a@b"), "IA5String");
        assert_eq!(cn(0x1a, b"a~b").as_deref(), Some("a~b"), "VisibleString");
        assert_eq!(cn(0x1c, b"\0\0\0a\0\x01\xf6\0").as_deref(), Some("a😀"), "UniversalString");
        assert_eq!(cn(0x1e, b"\0a\x20\xac").as_deref(), Some("a€"), "BMPString");
    }

    #[test]
    fn broken_text_and_other_types_count_as_missing() {
        for (tag, bytes) in
            [(0x1e, &b"\0a\0"[..]), (0x1e, b"\xd8\0"), (0x1c, b"\0\0\0"), (0x04, b"abc"), (0x8c, b"abc")]
        {
            let name = common_name(tag, bytes);
            assert_eq!(name.first(Attribute::CommonName), None);
            assert_eq!(name.to_string(), format!("CN=#{}", hex(bytes)));
        }
    }

    #[test]
    fn display_is_most_specific_first_and_escapes() {
        use Attribute::{CommonName, Country, Organization};
        let name = name(&[(Country, "CH"), (Organization, "A, B+C"), (CommonName, " x\n\u{9b}=")]);
        assert_eq!(name.to_string(), r"CN=\ x\0A\C2\9B\=,O=A\, B\+C,C=CH");
    }

    #[test]
    fn unknown_attributes_show_as_their_oid_and_multi_valued_rdns_with_a_plus() {
        let pair = |oid: &[u8], value: &str| der::sequence(&[&der::tagged(6, oid), &der::utf8_string(value)]);
        let rdn = der::set(&[&pair(&oid!(raw 2.5.4.3), "x"), &pair(&oid!(raw 1.2.3.4), "y")]);
        let name = read(&der::sequence(&[&rdn]));
        assert_eq!(name.to_string(), "CN=x+1.2.3.4=y");
        assert_eq!(name.first(Attribute::CommonName), Some("x"));
    }

    proptest! {
        #[test]
        fn values_survive_encoding(value: String, other: String) {
            let name = name(&[(Attribute::CommonName, &value), (Attribute::Country, &other)]);
            prop_assert_eq!(name.all(Attribute::CommonName).collect::<Vec<_>>(), [value.as_str()]);
            prop_assert_eq!(name.all(Attribute::Country).collect::<Vec<_>>(), [other.as_str()]);
            prop_assert!(!name.to_string().chars().any(char::is_control));
        }
    }
}

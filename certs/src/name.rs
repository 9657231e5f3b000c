//! Distinguished names.

/// The attributes that templates (`spec/jitp.md` section 6) and policies (`spec/policies.md` section 5) can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Attribute {
    DistinguishedNameQualifier,
    Country,
    Organization,
    OrganizationalUnit,
    State,
    CommonName,
    SerialNumber,
    Title,
    Surname,
    GivenName,
    Initials,
    Pseudonym,
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
        unimplemented!()
    }
}

/// A subject or issuer, decoded to UTF-8, in encoding order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName {
    der: Vec<u8>,
    attributes: Vec<(Attribute, String)>,
    display: String,
}

impl DistinguishedName {
    /// The raw DER of the name: what issuer look-up compares.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// First non-empty value in encoding order, `None` when absent or empty.
    pub fn first(&self, _attribute: Attribute) -> Option<&str> {
        unimplemented!()
    }
    /// All values in encoding order, empty ones included.
    pub fn all(&self, attribute: Attribute) -> impl Iterator<Item = &str> {
        self.attributes.iter().filter(move |(a, _)| *a == attribute).map(|(_, v)| v.as_str())
    }
}
impl std::fmt::Display for DistinguishedName {
    /// RFC 4514-like, most specific first, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.display)
    }
}

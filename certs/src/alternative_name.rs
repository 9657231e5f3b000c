//! Subject and issuer alternative names.
use crate::der;
use crate::name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};
use x509_parser::x509::X509Name;

/// One subject or issuer alternative name, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A mail address.
    Rfc822Name(String),
    /// A host name; may begin with `*.`.
    DnsName(String),
    /// A distinguished name, written as [`DistinguishedName`](crate::DistinguishedName) displays.
    DirectoryName(String),
    /// A URI.
    UniformResourceIdentifier(String),
    /// An address, as `Ipv4Addr` and `Ipv6Addr` write it.
    IpAddress(String),
}

/// The names of the five kinds, in encoding order. Other kinds and single names that cannot be read are left
/// out; what follows damage to the list itself is too: a policy variable over them is then unresolved.
pub(crate) fn read(extension: &[u8]) -> Vec<AlternativeName> {
    let mut names = Vec::new();
    let Ok((_, list)) = Any::from_der(extension) else { return names };
    if (list.class(), list.tag()) != (Class::Universal, Tag::Sequence) {
        return names;
    }
    let mut rest = list.data;
    while let Ok((after, entry)) = Any::from_der(rest) {
        rest = after;
        if entry.class() == Class::ContextSpecific {
            names.extend(one(entry.tag().0, entry.data));
        }
    }
    names
}

/// DER of the extension's value.
///
/// `None` when a name cannot be written: not ASCII, no address, or a directory name.
pub(crate) fn encode(names: &[AlternativeName]) -> Option<Vec<u8>> {
    let ia5 = |number, text: &str| text.is_ascii().then(|| der::context_primitive(number, text.as_bytes()));
    let entries: Option<Vec<Vec<u8>>> = names
        .iter()
        .map(|name| match name {
            AlternativeName::Rfc822Name(text) => ia5(RFC822_NAME, text),
            AlternativeName::DnsName(text) => ia5(DNS_NAME, text),
            AlternativeName::UniformResourceIdentifier(text) => ia5(URI, text),
            AlternativeName::DirectoryName(_) => None,
            AlternativeName::IpAddress(text) => Some(match text.parse().ok()? {
                IpAddr::V4(address) => der::context_primitive(IP_ADDRESS, &address.octets()),
                IpAddr::V6(address) => der::context_primitive(IP_ADDRESS, &address.octets()),
            }),
        })
        .collect();
    Some(der::tagged(0x30, &entries?.concat()))
}

const RFC822_NAME: u8 = 1;
const DNS_NAME: u8 = 2;
const DIRECTORY_NAME: u8 = 4;
const URI: u8 = 6;
const IP_ADDRESS: u8 = 7;

fn one(number: u32, data: &[u8]) -> Option<AlternativeName> {
    let ia5 = || std::str::from_utf8(data).ok().filter(|text| text.is_ascii()).map(str::to_owned);
    Some(match u8::try_from(number).ok()? {
        RFC822_NAME => AlternativeName::Rfc822Name(ia5()?),
        DNS_NAME => AlternativeName::DnsName(ia5()?),
        URI => AlternativeName::UniformResourceIdentifier(ia5()?),
        DIRECTORY_NAME => AlternativeName::DirectoryName(name::display(&X509Name::from_der(data).ok()?.1)),
        IP_ADDRESS => AlternativeName::IpAddress(if let Ok(octets) = <[u8; 4]>::try_from(data) {
            Ipv4Addr::from(octets).to_string()
        } else {
            Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string()
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_read_does_not_hide_the_others() {
        let entries = [
            der::context_primitive(DNS_NAME, b"a.example"),
            der::context_primitive(DNS_NAME, b"\xff\xfe"),
            der::context_primitive(IP_ADDRESS, &[1, 2, 3]),
            der::context(DIRECTORY_NAME, b"\x30\x05"),
            der::context_primitive(8, &[1]),
            der::context_primitive(IP_ADDRESS, &[192, 0, 2, 1]),
        ]
        .concat();
        assert_eq!(
            read(&der::tagged(0x30, &entries)),
            [AlternativeName::DnsName("a.example".into()), AlternativeName::IpAddress("192.0.2.1".into())]
        );
        assert_eq!(read(b""), []);
        assert_eq!(read(b"\x30\x7f\x82"), []);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let names = [
            AlternativeName::Rfc822Name("a@b.example".into()),
            AlternativeName::DnsName("*.b.example".into()),
            AlternativeName::UniformResourceIdentifier("urn:x".into()),
            AlternativeName::IpAddress("2001:db8::1".into()),
        ];
        assert_eq!(read(&encode(&names).unwrap()), names);
        assert_eq!(encode(&[AlternativeName::DnsName("é".into())]), None);
        assert_eq!(encode(&[AlternativeName::IpAddress("localhost".into())]), None);
    }
}

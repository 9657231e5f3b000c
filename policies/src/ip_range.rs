//! Ranges of addresses in CIDR notation.
use std::net::{IpAddr, Ipv6Addr};

/// `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits after the prefix are ignored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IpRange {
    network: IpAddr,
    prefix: u32,
}

impl IpRange {
    /// Reads one of these forms; `None`: it is none. A range of v4-mapped v6 addresses is one of v4 addresses.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None => bits(address),
        };
        if prefix > bits(address) {
            return None;
        }
        match (address.to_canonical(), address) {
            (network @ IpAddr::V4(_), IpAddr::V6(_)) if prefix >= 96 => {
                Some(Self { network, prefix: prefix - 96 })
            }
            _ => Some(Self { network: address, prefix }),
        }
    }

    /// A v4-mapped v6 address counts as v4. A v6 range does not contain v4 addresses.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = number(network) ^ number(address);
                differing.leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

const fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: Ipv6Addr) -> u128 {
    u128::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_the_addresses_with_its_prefix() {
        for (range, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.9.9.9/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "10.0.0.1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
        ] {
            let parsed = IpRange::parse(range).unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{address} in {range}");
        }
    }

    #[test]
    fn other_text_is_no_range() {
        for text in
            ["", "10.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "10.0.0.0/8/8", "10.*"]
        {
            assert_eq!(IpRange::parse(text), None, "{text}");
        }
    }
}

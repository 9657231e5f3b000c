//! The PROXY protocol, version 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>): before the first byte of a
//! client a load balancer says who that client is.
use jitp_provisioner::policies::IpRange;
use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, ParseError, Protocol};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Signature, version, command, family and length.
const START: usize = 16;
/// Bytes that may follow: addresses, and type-length-values, which are skipped.
const REST: usize = 4096;

/// The load balancers that a listener believes.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxies {
    /// Where they connect from; empty: from anywhere.
    pub trusted: Vec<IpRange>,
}

/// Why it is not known who the client is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error(
        "{0} is none of the load balancers that this listener believes; add it to the listener's trusted_proxies, or let \
         devices that come directly connect to a listener without proxy_protocol"
    )]
    Untrusted(IpAddr),
    #[error(
        "the load balancer sends the PROXY protocol in version 1; let it send version 2 (HAProxy: send-proxy-v2)"
    )]
    VersionOne,
    #[error(
        "the connection does not begin with a PROXY protocol header, which this listener requires; let the load balancer \
         send version 2 (HAProxy: send-proxy-v2), or let devices that come directly connect to a listener without \
         proxy_protocol"
    )]
    NoHeader,
    #[error("the PROXY protocol header has {0} bytes behind its start; {REST} are taken")]
    TooLong(usize),
    #[error("the PROXY protocol header cannot be read: {0}")]
    Malformed(#[from] ParseError),
    #[error(
        "the PROXY protocol header names no TCP client (over IPv4 or IPv6); check what the load balancer forwards"
    )]
    NotTcp,
    /// Also when nothing came: health checks of load balancers do that, and some reset the connection.
    #[error("the connection ended before a whole PROXY protocol header came: {0}")]
    Broken(#[from] io::Error),
}

impl Proxies {
    /// Reads the header, and not a byte more: who the client is that `peer` speaks for, or `peer` itself if that is what
    /// the header says. The caller bounds the time.
    pub(crate) async fn client(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: SocketAddr,
    ) -> Result<SocketAddr, ProxyError> {
        if !self.trusted.is_empty() && !self.trusted.iter().any(|range| range.contains(peer.ip())) {
            return Err(ProxyError::Untrusted(peer.ip()));
        }
        let mut header = vec![0; START];
        let mut filled = 0;
        while let Some(rest) = header.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match stream.read(rest).await? {
                0 => return Err(ProxyError::Broken(io::ErrorKind::UnexpectedEof.into())),
                read => filled += read,
            }
            check_signature(header.get(..filled).unwrap_or_default())?;
        }
        let length = header.last_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        if length > REST {
            return Err(ProxyError::TooLong(length));
        }
        header.resize(START + length, 0);
        stream.read_exact(header.get_mut(START..).unwrap_or_default()).await?;
        Ok(client_of(&header)?.unwrap_or(peer))
    }
}

/// Does what came so far begin as a header does?
fn check_signature(came: &[u8]) -> Result<(), ProxyError> {
    const VERSION_ONE: &[u8] = b"PROXY ";
    let begins = |with: &[u8]| came.iter().zip(with).all(|(a, b)| a == b);
    match begins(PROTOCOL_PREFIX) {
        true => Ok(()),
        false if begins(VERSION_ONE) => Err(ProxyError::VersionOne),
        false => Err(ProxyError::NoHeader),
    }
}

/// The client that a whole header names. `None`: the load balancer speaks for itself.
fn client_of(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let header = Header::try_from(header)?;
    if header.command == Command::Local {
        return Ok(None);
    }
    let client = match header.addresses {
        _ if header.protocol != Protocol::Stream => return Err(ProxyError::NotTcp),
        Addresses::IPv4(v4) => SocketAddr::from((v4.source_address, v4.source_port)),
        Addresses::IPv6(v6) => SocketAddr::new(IpAddr::V6(v6.source_address).to_canonical(), v6.source_port),
        Addresses::Unspecified | Addresses::Unix(_) => return Err(ProxyError::NotTcp),
    };
    Ok(Some(client))
}

/// Reads a header from anything: what must hold for every input whatsoever.
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::unwrap_used, reason = "a panic here is the finding")]
pub fn exercise(input: &[u8]) {
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut rest = input;
    let client = runtime.block_on(Proxies { trusted: Vec::new() }.client(&mut rest, peer));
    let taken = input.len() - rest.len();
    assert!(taken <= START + REST, "{taken} bytes of a header");
    match client {
        Ok(client) => assert_eq!(client_of(input.get(..taken).unwrap()).unwrap().unwrap_or(peer), client),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppp::v2::{Builder, Type, Version};
    use proptest::prelude::*;

    const PEER: &str = "10.0.0.9:4000";

    fn read(proxies: &[&str], mut bytes: &[u8]) -> (Result<SocketAddr, ProxyError>, usize) {
        let trusted = proxies.iter().map(|text| IpRange::parse(text).unwrap()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(Proxies { trusted }.client(&mut bytes, PEER.parse().unwrap()));
        (read, bytes.len())
    }

    fn header(command: Command, from: &str, to: &str) -> Vec<u8> {
        let addresses: (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses)
            .write_tlv(Type::NoOp, &[0; 300])
            .unwrap()
            .build()
            .unwrap()
    }

    #[test]
    fn the_client_is_whom_the_load_balancer_names_and_what_follows_is_left() {
        for (from, to, expected) in [
            ("203.0.113.7:5000", "10.0.0.1:8883", "203.0.113.7:5000"),
            ("[2001:db8::7]:5000", "[2001:db8::1]:8883", "[2001:db8::7]:5000"),
            ("[::ffff:203.0.113.7]:5000", "[::ffff:10.0.0.1]:8883", "203.0.113.7:5000"),
        ] {
            let mut bytes = header(Command::Proxy, from, to);
            bytes.extend(b"the client");
            let (client, left) = read(&[], &bytes);
            assert_eq!(client.unwrap(), expected.parse().unwrap());
            assert_eq!(left, b"the client".len());
        }
    }

    #[test]
    fn a_load_balancer_that_speaks_for_itself_is_the_client() {
        let bytes = header(Command::Local, "203.0.113.7:5000", "10.0.0.1:8883");
        assert_eq!(read(&[], &bytes).0.unwrap(), PEER.parse().unwrap());
        let bare = Builder::new(Version::Two | Command::Local, 0).build().unwrap();
        assert_eq!(read(&[], &bare).0.unwrap(), PEER.parse().unwrap());
    }

    #[test]
    fn only_load_balancers_that_are_trusted_are_believed() {
        let bytes = header(Command::Proxy, "203.0.113.7:5000", "10.0.0.1:8883");
        assert!(read(&["192.0.2.0/24", "10.0.0.0/8"], &bytes).0.is_ok());
        let (refused, left) = read(&["192.0.2.0/24", "10.0.0.1"], &bytes);
        assert!(matches!(refused, Err(ProxyError::Untrusted(_))), "{refused:?}");
        assert_eq!(left, bytes.len(), "nothing is read from a stranger");
    }

    #[test]
    fn what_is_no_header_of_version_2_is_called_by_its_name() {
        let hello = [0x16, 3, 1, 0];
        assert!(matches!(read(&[], &hello).0, Err(ProxyError::NoHeader)));
        let version_one = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 8883\r\n";
        assert!(matches!(read(&[], version_one).0, Err(ProxyError::VersionOne)));
        assert!(matches!(read(&[], b"").0, Err(ProxyError::Broken(_))));
        let mut long = header(Command::Proxy, "203.0.113.7:5000", "10.0.0.1:8883");
        long[14..16].copy_from_slice(&5000_u16.to_be_bytes());
        assert!(matches!(read(&[], &long).0, Err(ProxyError::TooLong(5000))));
        assert!(matches!(read(&[], &long[..20]).0, Err(ProxyError::TooLong(_))));
        let mut cut = header(Command::Proxy, "203.0.113.7:5000", "10.0.0.1:8883");
        cut.truncate(100);
        assert!(matches!(read(&[], &cut).0, Err(ProxyError::Broken(_))));
        let datagram = Builder::with_addresses(
            Version::Two | Command::Proxy,
            Protocol::Datagram,
            ("203.0.113.7:5000".parse::<SocketAddr>().unwrap(), "10.0.0.1:53".parse().unwrap()),
        );
        assert!(matches!(read(&[], &datagram.build().unwrap()).0, Err(ProxyError::NotTcp)));
        let unknown = Builder::new(Version::Two | Command::Proxy, 0).build().unwrap();
        assert!(matches!(read(&[], &unknown).0, Err(ProxyError::NotTcp)));
        let mut version_three = header(Command::Proxy, "203.0.113.7:5000", "10.0.0.1:8883");
        version_three[12] = 0x31;
        assert!(matches!(read(&[], &version_three).0, Err(ProxyError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_input_panics_or_is_read_beyond_its_header(
            input in proptest::collection::vec(any::<u8>(), 0..200),
            damage in proptest::collection::vec((0_usize..64, any::<u8>()), 0..4),
        ) {
            exercise(&input);
            // Mostly a header, but not quite.
            let mut bytes = header(Command::Proxy, "203.0.113.7:5000", "10.0.0.1:8883");
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            bytes.extend(&input);
            exercise(&bytes);
        }
    }
}

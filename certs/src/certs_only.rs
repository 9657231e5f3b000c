//! Certificates as a PKCS#7 message that holds nothing else (RFC 5652 section 5, RFC 8951 section 3): what EST answers with.
use crate::{Certificate, der};

/// `id-signedData` and `id-data`.
const SIGNED_DATA: der::OidBytes = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const DATA: der::OidBytes = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];

/// DER of a SignedData without content and signatures, with these certificates.
pub fn certs_only(certificates: &[Certificate]) -> Vec<u8> {
    let mut certificates: Vec<&[u8]> = certificates.iter().map(Certificate::der).collect();
    // A SET in DER is sorted.
    certificates.sort_unstable();
    let signed_data = der::sequence(&[
        &der::unsigned_integer(&[1]),
        &der::set(&[]),
        &der::sequence(&[&der::oid(DATA)]),
        &der::context(0, &certificates.concat()),
        &der::set(&[]),
    ]);
    der::sequence(&[&der::oid(SIGNED_DATA), &der::context(0, &signed_data)])
}

//! Taking any client certificate that parses, and proving possession of its key.
use super::leaf::{self, BAD_ENCODING};
use super::public_key_info::PublicKeyInfo;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use std::sync::Arc;

/// RSASSA-PSS with a key that is for RSASSA-PSS only (RFC 8446 section 4.2.3); rustls does not name these.
const RSA_PSS_PSS: [(SignatureScheme, SignatureScheme); 3] = [
    (SignatureScheme::Unknown(0x0809), SignatureScheme::RSA_PSS_SHA256),
    (SignatureScheme::Unknown(0x080a), SignatureScheme::RSA_PSS_SHA384),
    (SignatureScheme::Unknown(0x080b), SignatureScheme::RSA_PSS_SHA512),
];

/// Accepts every leaf that parses: X.509 v1 to v3, self-signed, unknown issuer, expired. Trust is decided
/// later, by the registry. What is verified here is that the client holds the key, and that is why the key is
/// taken from the certificate by hand: webpki refuses v1 certificates.
#[derive(Debug)]
pub(super) struct AnyClientCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

/// TLS 1.2 leaves the curve open in an ECDSA scheme, TLS 1.3 fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Tls12,
    Tls13,
}

impl AnyClientCertificate {
    pub(super) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { algorithms }
    }

    fn verify(
        &self,
        rules: Rules,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let leaf = leaf::parse(leaf)?;
        // No signature by such a key can be verified, which does not mean that somebody else has the key.
        if let (false, Err(refused)) = (leaf.key_algorithm().is_accepted(), leaf.check_algorithms()) {
            return Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused)))));
        }
        let key = PublicKeyInfo::split(leaf.public_key_info()).ok_or(BAD_ENCODING)?;
        let algorithm = self.algorithm(rules, signed.scheme, &key)?;
        algorithm
            .verify_signature(key.key, message, signed.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadSignature))
    }

    /// The algorithm for a scheme and a key, if they fit.
    fn algorithm(
        &self,
        rules: Rules,
        scheme: SignatureScheme,
        key: &PublicKeyInfo<'_>,
    ) -> Result<&'static dyn SignatureVerificationAlgorithm, Error> {
        let candidates =
            |scheme| self.algorithms.mapping.iter().find(|(s, _)| *s == scheme).map_or(&[][..], |(_, a)| *a);
        let found = if let Some((_, rsae)) = RSA_PSS_PSS.iter().find(|(pss, _)| *pss == scheme) {
            let fits = rules == Rules::Tls13 && key.is_rsa_pss();
            candidates(*rsae).iter().copied().find(|_| fits)
        } else {
            let usable = match rules {
                Rules::Tls12 => candidates(scheme),
                Rules::Tls13 if is_pkcs1(scheme) => &[],
                Rules::Tls13 => candidates(scheme).get(..1).unwrap_or(&[]),
            };
            usable.iter().copied().find(|a| *a.public_key_alg_id() == *key.algorithm)
        };
        found.ok_or(Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme))
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    /// Empty, so that a client sends whatever certificate it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        leaf::parse(leaf).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(Rules::Tls12, message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(Rules::Tls13, message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = self.algorithms.mapping.iter().map(|(scheme, _)| *scheme);
        known.chain(RSA_PSS_PSS.iter().map(|(pss, _)| *pss)).collect()
    }
}

fn is_pkcs1(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}

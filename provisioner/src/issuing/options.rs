//! How certificates are issued.
use jitp_certs::{Attribute, KeyKind, LeafUsage, PrivateKeyPem};
use std::time::Duration;

/// How certificates are issued. `Default` is the documented default of each.
#[derive(Debug, Clone)]
pub struct IssuingOptions {
    /// The operator's own issuing CA; `None`: one of the broker's own, made at first start.
    pub ca: Option<IssuingCa>,
    /// The ARN of a program that signs instead (`None`, the default: the CA does). Claims are signed by the CA.
    pub issuer: Option<String>,
    /// How long an issued certificate is valid; `None` (default): until 2049-12-31T23:59:59Z, as AWS's are.
    pub lifetime: Option<Duration>,
    /// Whom a certificate names whose key is made here (default: CN=`AWS IoT Certificate`).
    pub subject: Vec<(Attribute, String)>,
    /// keyUsage and extendedKeyUsage (default: digitalSignature, clientAuth).
    pub usage: LeafUsage,
    /// The keys that are made here (default: RSA of 2048 bits, as AWS's are).
    pub keys: KeyKind,
    /// Keys that wait ready (default 32); 0: each is made when it is asked for. EC keys do not wait: they take no time.
    pub key_pool: usize,
    /// How long an ownership token is valid, and the pending certificate with it (default 1 hour).
    pub token_lifetime: Duration,
    /// How long a provisioning claim is valid (default 5 minutes).
    pub claim_lifetime: Duration,
    /// How long a connection made with a claim goes on after the claim's end (default 60 s).
    pub claim_grace: Duration,
    /// How long a certificate that has been renewed stays ACTIVE, if the new one does not connect before (default 7 days);
    /// 0: until then.
    pub renewal_grace: Duration,
}

impl Default for IssuingOptions {
    fn default() -> Self {
        Self {
            ca: None,
            issuer: None,
            lifetime: None,
            subject: vec![(Attribute::CommonName, "AWS IoT Certificate".into())],
            usage: LeafUsage::default(),
            keys: KeyKind::Rsa2048,
            key_pool: 32,
            token_lifetime: Duration::from_secs(3600),
            claim_lifetime: Duration::from_secs(300),
            claim_grace: Duration::from_secs(60),
            renewal_grace: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// A CA of the operator's. `Debug` shows nothing of its key.
#[derive(Debug, Clone)]
pub struct IssuingCa {
    /// PEM, one certificate.
    pub certificate: String,
    /// Its key.
    pub private_key: PrivateKeyPem,
}

//! What variables and conditions can refer to.
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names the ARNs: `arn:aws:iot:<region>:<account>:`. With the region [`Scope::ANY_REGION`] the region in the resources of
/// policies does not count: they match as if every region were this one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Scope {
    pub region: String,
    pub account: String,
}

impl Scope {
    /// Stands for every region.
    pub const ANY_REGION: &str = "any";

    /// `arn:aws:iot:<region>:<account>:`.
    pub(crate) fn arn_prefix(&self) -> String {
        ["arn:aws:iot:", &self.region, ":", &self.account, ":"].concat()
    }
}

/// The thing of a connection (`spec/policies.md` section 6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ThingContext {
    pub name: String,
    pub thing_type: Option<String>,
    pub attributes: BTreeMap<String, String>,
}

/// One connection, as policies see it. Raw values: hygiene rules (section 5) are applied by this crate.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Context {
    pub client_id: Option<String>,
    pub source_ip: Option<IpAddr>,
    /// SNI host name.
    pub domain_name: Option<String>,
    /// 64 lower-case hex digits.
    pub certificate_id: Option<String>,
    /// X.509 serial number, hex.
    pub certificate_serial_number: Option<String>,
    /// `Subject.CommonName`, `Issuer.Country`, `Subject.AlternativeName.DNSName` … to all values in encoding order.
    pub certificate_fields: BTreeMap<String, Vec<String>>,
    /// `None`: all thing variables are unresolved (but `IsAttached` is `false`).
    pub thing: Option<ThingContext>,
    /// `iot:Connection.Thing.IsAttached`.
    pub thing_is_attached: bool,
    /// CONNECT asks for a persistent session: puts `PersistentConnect` into `iot:ConnectAttributes` (Connect only).
    pub persistent_connect: bool,
    /// CONNECT's will topic: puts `LastWill` into `iot:ConnectAttributes` and sets `iot:LastWillTopic` (Connect only).
    pub last_will_topic: Option<String>,
}

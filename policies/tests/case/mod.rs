//! The form of the files under `cases/`.
use jitp_policies::{Action, AttachedPolicy, Context, Document, Permissions, Scope, ThingContext};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Policies, a connection, and what is decided for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub case: String,
    /// Documents by policy name; names give the order.
    pub policies: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub context: Connection,
    pub requests: Vec<Request>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub action: String,
    pub name: String,
    /// `allowed`, `denied` or `not allowed`.
    pub decision: String,
    /// `policy#sid`, or `policy#index`.
    pub by: Option<String>,
    /// Part of the reason of one near miss.
    pub near_miss: Option<String>,
}

/// A document that is accepted, or refused with this path and a message that contains this text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentCase {
    pub case: String,
    pub text: Option<String>,
    pub document: Option<serde_json::Value>,
    pub path: Option<String>,
    pub message: Option<String>,
}

/// A [`Context`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connection {
    client_id: Option<String>,
    source_ip: Option<IpAddr>,
    domain_name: Option<String>,
    certificate_id: Option<String>,
    certificate_serial_number: Option<String>,
    certificate_fields: BTreeMap<String, Vec<String>>,
    thing: Option<Thing>,
    thing_is_attached: bool,
    persistent_connect: bool,
    last_will_topic: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Thing {
    name: String,
    thing_type: Option<String>,
    attributes: BTreeMap<String, String>,
}

impl Case {
    pub fn permissions(&self) -> Permissions {
        let policies: Vec<AttachedPolicy> = self
            .policies
            .iter()
            .map(|(name, document)| AttachedPolicy {
                name: name.as_str().into(),
                version: 1,
                document: Document::parse(&document.to_string()).unwrap().into(),
            })
            .collect();
        let scope = Scope { region: "local-1".to_owned(), account: "000000000000".to_owned() };
        Permissions::compile(&policies, &scope, &self.context.to_context())
    }
}

impl Connection {
    fn to_context(&self) -> Context {
        Context {
            client_id: self.client_id.clone(),
            source_ip: self.source_ip,
            domain_name: self.domain_name.clone(),
            certificate_id: self.certificate_id.clone(),
            certificate_serial_number: self.certificate_serial_number.clone(),
            certificate_fields: self.certificate_fields.clone(),
            thing: self.thing.as_ref().map(|thing| ThingContext {
                name: thing.name.clone(),
                thing_type: thing.thing_type.clone(),
                attributes: thing.attributes.clone(),
            }),
            thing_is_attached: self.thing_is_attached,
            persistent_connect: self.persistent_connect,
            last_will_topic: self.last_will_topic.clone(),
        }
    }
}

impl Request {
    pub fn action(&self) -> Action {
        Action::from_name(&self.action).unwrap()
    }
}

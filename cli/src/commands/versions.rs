//! Versions of policies and of templates: which there are, which one is in force, and which are no longer needed.
use super::connect;
use crate::args::{Global, Target};
use crate::client::encode;
use crate::exit::Exit;
use crate::output::{self, member, optional, time};
use serde_json::{Value, json};

/// What has versions, and how the API says so.
pub struct Kind {
    word: &'static str,
    collection: &'static str,
    segment: &'static str,
    /// In the reply of the list.
    versions: &'static str,
    created: &'static str,
}

pub const OF_POLICY: Kind = Kind {
    word: "policy",
    collection: "policies",
    segment: "version",
    versions: "policyVersions",
    created: "createDate",
};

pub const OF_TEMPLATE: Kind = Kind {
    word: "template",
    collection: "provisioning-templates",
    segment: "versions",
    versions: "versions",
    created: "creationDate",
};

impl Kind {
    fn path(&self, name: &str) -> String {
        format!("/{}/{}", self.collection, encode(name))
    }
    fn path_of(&self, name: &str, version: u32) -> String {
        format!("{}/{}/{version}", self.path(name), self.segment)
    }
}

pub async fn list(global: &Global, target: &Target, kind: &Kind, name: &str) -> anyhow::Result<Exit> {
    // There are five at most.
    let path = format!("{}/{}", kind.path(name), kind.segment);
    let mut reply = connect(global, target)?.get(&path).await?;
    let versions = reply.get_mut(kind.versions).map(Value::take).unwrap_or_default();
    if global.json {
        return output::json(&versions);
    }
    let row = |version: &Value| {
        let default = version.get("isDefaultVersion").and_then(Value::as_bool).unwrap_or_default();
        vec![
            optional(version, "versionId").unwrap_or_default(),
            time(version, kind.created).unwrap_or_default(),
            if default { "default".into() } else { String::new() },
        ]
    };
    let rows = versions.as_array().map(|versions| versions.iter().map(row).collect()).unwrap_or_default();
    output::table(&["version", "created", ""], rows)
}

/// Puts a version in force.
pub async fn select(
    global: &Global,
    target: &Target,
    kind: &Kind,
    name: &str,
    version: u32,
) -> anyhow::Result<Exit> {
    let client = connect(global, target)?;
    if kind.segment == OF_POLICY.segment {
        client.patch(&kind.path_of(name, version), &json!({})).await?;
    } else {
        client.patch(&kind.path(name), &json!({ "defaultVersionId": version })).await?;
    }
    output::done(global, &json!({}), &format!("version {version} is the default of the {} {name}", kind.word))
}

pub async fn delete(
    global: &Global,
    target: &Target,
    kind: &Kind,
    name: &str,
    version: u32,
) -> anyhow::Result<Exit> {
    connect(global, target)?.delete(&kind.path_of(name, version)).await?;
    output::done(global, &json!({}), &format!("version {version} of the {} {name} is deleted", kind.word))
}

/// Adds a version and puts it in force.
pub async fn add(
    global: &Global,
    target: &Target,
    kind: &Kind,
    name: &str,
    body: &Value,
) -> anyhow::Result<Exit> {
    let path = format!("{}/{}?setAsDefault=true", kind.path(name), kind.segment);
    let reply = connect(global, target)?.post(&path, body).await?;
    let version = optional(&reply, "policyVersionId").unwrap_or_else(|| member(&reply, "versionId"));
    output::done(global, &reply, &format!("version {version} is the default"))
}

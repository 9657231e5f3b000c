//! Names that cannot hold an invalid value. Those that templates use live one floor down.
pub use jitp_certs::CertificateId;
pub use jitp_templates::{
    AttributeName, AttributeValue, BillingGroupName, NameError, PolicyName, ThingGroupName, ThingName,
    ThingTypeName,
};

/// The name of a provisioning template: 1 to 36 characters of `0-9A-Za-z_-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TemplateName(std::sync::Arc<str>);

impl TemplateName {
    /// Checks the text.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if (1..=36).contains(&text.len()) && text.chars().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(NameError {
                what: "template name",
                value: text.chars().take(200).collect(),
                fault: match text.chars().find(|c| !legal(*c)) {
                    Some(c) => format!("contains {c:?}"),
                    None if text.is_empty() => "is empty".into(),
                    None => format!("has {} characters", text.len()),
                },
                rule: "1 to 36 characters of 0-9 A-Z a-z _ -",
            })
        }
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl std::fmt::Display for TemplateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for TemplateName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}
impl std::str::FromStr for TemplateName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}
impl From<TemplateName> for String {
    fn from(name: TemplateName) -> String {
        name.0.to_string()
    }
}

//! Names that cannot hold an invalid value. Those that templates use live one floor down.
pub use jitp_certs::CertificateId;
pub use jitp_templates::{
    AttributeName, AttributeValue, BillingGroupName, NameError, PolicyName, ThingGroupName, ThingName,
    ThingTypeName,
};

macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident = $what:literal, $most:literal, $rule:literal, $legal:expr;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks the text.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($what, $most, $rule, $legal, text)?;
                Ok(Self(text.into()))
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }
    )+};
}

names! {
    /// The name of a provisioning template: 1 to 36 characters of `0-9A-Za-z_-`.
    TemplateName = "template name", 36, "1 to 36 characters of 0-9 A-Z a-z _ -",
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    /// The name of a certificate provider: 1 to 128 characters of `0-9A-Za-z_=,@-`.
    CertificateProviderName = "certificate provider name", 128, "1 to 128 characters of 0-9 A-Z a-z _ = , @ -",
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '=' | ',' | '@' | '-');
}

fn check(
    what: &'static str,
    most: usize,
    rule: &'static str,
    legal: impl Fn(char) -> bool,
    text: &str,
) -> Result<(), NameError> {
    if (1..=most).contains(&text.len()) && text.chars().all(&legal) {
        return Ok(());
    }
    Err(NameError {
        what,
        value: text.chars().take(200).collect(),
        fault: match text.chars().find(|c| !legal(*c)) {
            Some(c) => format!("contains {c:?}"),
            None if text.is_empty() => "is empty".into(),
            None => format!("has {} characters", text.len()),
        },
        rule,
    })
}

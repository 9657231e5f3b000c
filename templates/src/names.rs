//! Names that cannot hold an invalid value (`spec/control-plane.md`, name patterns).

/// Why a text is not a legal name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a legal {what}: {rule}")]
pub struct NameError {
    /// The kind of name, for a person: `thing name`.
    pub what: &'static str,
    /// The offending text, cut at 200 characters.
    pub value: String,
    /// The rule it breaks: `1 to 128 characters of a-z A-Z 0-9 : _ -`.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal, $max:literal, $rule:literal, |$c:ident| $ok:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);
        impl $name {
            /// Checks the text.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let length = text.chars().count();
                if ($min..=$max).contains(&length) && text.chars().all(|$c| $ok) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { what: $what, value: text.chars().take(200).collect(), rule: $rule })
                }
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
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

const fn registry_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-')
}

name!(
    /// The name of a thing.
    ThingName, "thing name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -", |c| registry_character(c)
);
name!(
    /// The name of a thing type.
    ThingTypeName, "thing type name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -", |c| registry_character(c)
);
name!(
    /// The name of a thing group.
    ThingGroupName, "thing group name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -", |c| registry_character(c)
);
name!(
    /// The name of a billing group.
    BillingGroupName, "billing group name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -", |c| registry_character(c)
);
name!(
    /// The name of a policy.
    PolicyName, "policy name", 1, 128, "1 to 128 characters of letters, digits, _ + = , . @ -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
);
name!(
    /// The name of an attribute of a thing.
    AttributeName, "attribute name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 _ . , @ / : # -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ',' | '@' | '/' | ':' | '#' | '-')
);
name!(
    /// The value of an attribute of a thing.
    AttributeValue, "attribute value", 0, 800, "0 to 800 characters of a-z A-Z 0-9 _ . , @ / : # = [ ] -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ',' | '@' | '/' | ':' | '#' | '=' | '[' | ']' | '-')
);

//! Names that cannot hold an invalid value (`spec/control-plane.md`, name patterns).

/// Why a text is not a legal name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a legal {what}: it {fault}; use {rule}")]
pub struct NameError {
    /// The kind of name, for a person: `thing name`.
    pub what: &'static str,
    /// The offending text, cut at 200 characters.
    pub value: String,
    /// What is wrong with it: `contains ' '`, `is empty`, `has 140 characters`.
    pub fault: String,
    /// The rule it breaks: `1 to 128 characters of a-z A-Z 0-9 : _ -`.
    pub rule: &'static str,
}

/// A checked text: cheap to clone, ordered and hashed as its text, a plain string in JSON.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal, $max:literal, $rule:literal, $ok:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);
        impl $name {
            #[doc = concat!("Checks the text: ", $rule, ".")]
            pub fn new(text: &str) -> Result<Self, NameError> {
                match fault(text, $min, $max, $ok) {
                    None => Ok(Self(text.into())),
                    Some(fault) => {
                        let value = text.chars().take(200).collect();
                        Err(NameError { what: $what, value, fault, rule: $rule })
                    }
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
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a ", $what))
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                d.deserialize_str(Text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
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

name!(
    /// The name of a thing: `[a-zA-Z0-9:_-]{1,128}`.
    ThingName, "thing name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -", is_registry_character
);
name!(
    /// The name of a thing type: `[a-zA-Z0-9:_-]{1,128}`.
    ThingTypeName, "thing type name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -",
    is_registry_character
);
name!(
    /// The name of a thing group: `[a-zA-Z0-9:_-]{1,128}`.
    ThingGroupName, "thing group name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -",
    is_registry_character
);
name!(
    /// The name of a billing group: `[a-zA-Z0-9:_-]{1,128}`.
    BillingGroupName, "billing group name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 : _ -",
    is_registry_character
);
name!(
    /// The name of a policy: `[\w+=,.@-]{1,128}`, where `\w` is ASCII.
    PolicyName, "policy name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 _ + = , . @ -", is_policy_character
);
name!(
    /// The name of an attribute of a thing: `[a-zA-Z0-9_.,@/:#-]{1,128}`.
    AttributeName, "attribute name", 1, 128, "1 to 128 characters of a-z A-Z 0-9 _ . , @ / : # -",
    is_attribute_name_character
);
name!(
    /// The value of an attribute of a thing: `[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}`. It may be empty; it holds no
    /// space, no plus sign, no parenthesis and nothing beyond ASCII.
    AttributeValue, "attribute value", 0, 800, "0 to 800 characters of a-z A-Z 0-9 _ . , @ / : # = [ ] -",
    is_attribute_value_character
);

impl PolicyName {
    /// Forty upper-case hexadecimal digits: always legal.
    pub(crate) fn of_hash(hash: [u8; 20]) -> Self {
        Self(hex::encode_upper(hash).into())
    }
}

fn fault(text: &str, min: usize, max: usize, is_legal: fn(char) -> bool) -> Option<String> {
    let length = text.chars().count();
    if let Some(culprit) = text.chars().find(|c| !is_legal(*c)) {
        Some(format!("contains {culprit:?}"))
    } else if length < min {
        Some("is empty".to_owned())
    } else if length > max {
        Some(format!("has {length} characters"))
    } else {
        None
    }
}

fn is_registry_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-')
}

fn is_policy_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

fn is_attribute_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ',' | '@' | '/' | ':' | '#' | '-')
}

fn is_attribute_value_character(c: char) -> bool {
    is_attribute_name_character(c) || matches!(c, '=' | '[' | ']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_own_characters_and_bounds() {
        assert!(ThingName::new("gw:17_a-B").is_ok());
        assert!(ThingName::new("").is_err());
        assert!(ThingName::new(&"x".repeat(128)).is_ok());
        assert!(ThingName::new(&"x".repeat(129)).is_err());
        assert!(ThingName::new("a.b").is_err());
        assert!(PolicyName::new("a+b=c,d.e@f-g_h").is_ok());
        assert!(PolicyName::new("a:b").is_err());
        assert!(AttributeName::new("a.b,c@d/e:f#g-h_i").is_ok());
        assert!(AttributeName::new("a=b").is_err());
        assert!(AttributeValue::new("").is_ok());
        assert!(AttributeValue::new("a=[b]/c#d").is_ok());
        for illegal in ["a b", "a+b", "a(b)", "é"] {
            assert!(AttributeValue::new(illegal).is_err(), "{illegal}");
        }
        assert!(AttributeValue::new(&"x".repeat(801)).is_err());
    }

    #[test]
    fn the_error_names_the_culprit_and_the_rule() {
        let error = ThingName::new("Blue Gate").unwrap_err().to_string();
        let expected = "\"Blue Gate\" is not a legal thing name: it contains ' '; \
                use 1 to 128 characters of a-z A-Z 0-9 : _ -";
        assert_eq!(error, expected);
        assert!(ThingName::new("").unwrap_err().to_string().contains("it is empty"));
        assert!(ThingName::new(&"x".repeat(129)).unwrap_err().to_string().contains("it has 129 characters"));
        assert_eq!(ThingName::new(&"é".repeat(900)).unwrap_err().value.chars().count(), 200);
    }

    #[test]
    fn a_name_is_a_string_in_json_and_checked_on_the_way_in() {
        assert_eq!(serde_json::to_string(&ThingName::new("gw").unwrap()).unwrap(), "\"gw\"");
        assert!(serde_json::from_str::<ThingName>("\"a b\"").is_err());
    }
}

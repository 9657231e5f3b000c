//! The values that variables and condition keys have on one connection.
use crate::key::{CERTIFICATE_FIELDS, Key, Pick};
use crate::{Context, Scope};
use std::fmt;

/// Most values of one certificate field that count (`spec/policies.md` section 5).
const MAX_ITEMS: usize = 5;
/// Most characters of one value of a certificate that count (`spec/policies.md` section 5).
const MAX_VALUE_CHARACTERS: usize = 1024;
/// A value with one of these is not substituted: it could be taken for a wildcard or a variable.
const UNSAFE: [char; 5] = ['*', '?', '+', '#', '$'];

/// The values of the keys that some documents mention, in the order of the keys.
#[derive(Debug, Default)]
pub(crate) struct Values {
    known: Box<[(Key, Resolved)]>,
    any_region: bool,
}

/// All values of a key, in order.
type Resolved = Result<Box<[Box<str>]>, Missing>;

impl Values {
    /// Keeps only what is asked for. `arn_prefix` is that of the scope.
    pub(crate) fn resolve<'k>(
        keys: impl Iterator<Item = &'k Key>,
        context: &Context,
        arn_prefix: &str,
    ) -> Self {
        let mut keys: Vec<&Key> = keys.collect();
        keys.sort_unstable();
        keys.dedup();
        let known = keys.into_iter().map(|key| (key.clone(), resolve(key, context, arn_prefix))).collect();
        let region = arn_prefix.split(':').nth(3);
        Self { known, any_region: region == Some(Scope::ANY_REGION) }
    }

    /// Are resources of every region meant?
    pub(crate) fn any_region(&self) -> bool {
        self.any_region
    }

    /// All values of a key, as conditions see them. The keys of CONNECT have none otherwise.
    pub(crate) fn list(&self, key: &Key, connecting: bool) -> Result<&[Box<str>], Missing> {
        if !connecting && matches!(key, Key::ConnectAttributes | Key::LastWillTopic) {
            return Err(Missing::NotConnecting);
        }
        let known = &self.known;
        match known.binary_search_by(|(known, _)| known.cmp(key)).ok().and_then(|at| known.get(at)) {
            Some((_, Ok(values))) => Ok(values),
            Some((_, Err(missing))) => Err(*missing),
            None => Err(Missing::Unknown),
        }
    }

    /// The text that a variable stands for. Value hygiene is applied to every variable.
    pub(crate) fn substitute(&self, key: &Key) -> Result<&str, Missing> {
        if matches!(
            key,
            Key::AvailableKeys
                | Key::ThingIsAttached
                | Key::ConnectAttributes
                | Key::LastWillTopic
                | Key::CertificateField { pick: Pick::List, .. }
        ) {
            return Err(Missing::OnlyInConditions);
        }
        let value = self.list(key, false)?.first().ok_or(Missing::Unknown)?;
        match value.chars().find(|character| UNSAFE.contains(character)) {
            Some(character) => Err(Missing::Unsafe(character)),
            None => Ok(value),
        }
    }
}

/// Why a variable or key has no value. Displayed after "because".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Unknown,
    ClientId,
    SourceIp,
    DomainName,
    Certificate,
    SerialNumber,
    CertificateField,
    CertificateItem,
    Thing,
    ThingType,
    Attribute,
    LastWill,
    NotConnecting,
    OnlyInConditions,
    Unsafe(char),
    /// `${` without `}`.
    Unclosed,
    /// A variable in the part of an ARN before the resource.
    OutsideResource,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no such variable",
            Self::ClientId => "there is no client id",
            Self::SourceIp => "the peer address is not known",
            Self::DomainName => "the client sent no host name (TLS SNI)",
            Self::Certificate => "the client has no certificate",
            Self::SerialNumber => "the serial number of the certificate is not known",
            Self::CertificateField => "the certificate has no such field",
            Self::CertificateItem => "the certificate has fewer values of this field (.1 is the second, 5 count)",
            Self::Thing => {
                "the connection has no thing: the certificate has no exclusive thing, and no thing that counts \
                 is named like the client id"
            }
            Self::ThingType => "the thing has no type",
            Self::Attribute => "the thing has no such attribute",
            Self::LastWill => "the client has no last will",
            Self::NotConnecting => "it exists only for iot:Connect",
            Self::OnlyInConditions => "it can only be the key of a condition",
            Self::Unsafe(character) => {
                return write!(f, "its value contains `{character}`, and such values are never substituted");
            }
            Self::Unclosed => "its `}` is missing",
            Self::OutsideResource => {
                "variables stand for something only in the resource part of an ARN, after the account"
            }
        })
    }
}

fn resolve(key: &Key, context: &Context, arn_prefix: &str) -> Resolved {
    let one = |value: Option<&str>, missing| value.map(|value| list([value])).ok_or(missing);
    let thing = context.thing.as_ref().ok_or(Missing::Thing);
    match key {
        Key::ClientId => one(context.client_id.as_deref(), Missing::ClientId),
        Key::SourceIp => match context.source_ip {
            Some(address) => Ok(list([address.to_canonical().to_string().as_str()])),
            None => Err(Missing::SourceIp),
        },
        Key::DomainName => one(context.domain_name.as_deref(), Missing::DomainName),
        Key::CertificateId => one(context.certificate_id.as_deref(), Missing::Certificate),
        Key::CertificateSerialNumber => {
            one(context.certificate_serial_number.as_deref(), Missing::SerialNumber)
        }
        Key::CertificateField { field, pick } => certificate_field(field, *pick, context),
        Key::AvailableKeys => Ok(available_keys(context)),
        Key::ThingName => Ok(list([thing?.name.as_str()])),
        Key::ThingTypeName => one(thing?.thing_type.as_deref(), Missing::ThingType),
        Key::ThingAttribute(name) => {
            one(thing?.attributes.get(&**name).map(String::as_str), Missing::Attribute)
        }
        Key::ThingIsAttached => {
            let attached = context.thing_is_attached && context.thing.is_some();
            Ok(list([if attached { "true" } else { "false" }]))
        }
        Key::ConnectAttributes => {
            let persistent = context.persistent_connect.then_some("PersistentConnect");
            let will = context.last_will_topic.is_some().then_some("LastWill");
            Ok(list(persistent.into_iter().chain(will)))
        }
        Key::LastWillTopic => match &context.last_will_topic {
            Some(topic) => Ok(list([format!("{arn_prefix}topic/{topic}").as_str()])),
            None => Err(Missing::LastWill),
        },
        Key::Unknown(_) => Err(Missing::Unknown),
    }
}

fn certificate_field(field: &str, pick: Pick, context: &Context) -> Resolved {
    let values = context.certificate_fields.get(field).map(Vec::as_slice).unwrap_or_default();
    let mut values = values.iter().take(MAX_ITEMS).map(|value| truncated(value)).peekable();
    if values.peek().is_none() {
        return Err(Missing::CertificateField);
    }
    match pick {
        Pick::First => Ok(list(values.take(1))),
        Pick::Index(index) => values.nth(index).map(|value| list([value])).ok_or(Missing::CertificateItem),
        Pick::List => Ok(list(values)),
    }
}

/// Names without `iot:` (`spec/policies.md` section 11). Not cut to five: a certificate has more fields than that.
fn available_keys(context: &Context) -> Box<[Box<str>]> {
    let has_field =
        |field: &&str| context.certificate_fields.get(*field).is_some_and(|values| !values.is_empty());
    let fields = CERTIFICATE_FIELDS.into_iter().filter(has_field);
    let serial_number = context.certificate_serial_number.is_some().then_some("SerialNumber");
    fields.chain(serial_number).map(|name| format!("Certificate.{name}").into()).collect()
}

fn truncated(value: &str) -> &str {
    value.char_indices().nth(MAX_VALUE_CHARACTERS).and_then(|(end, _)| value.get(..end)).unwrap_or(value)
}

fn list<'v>(values: impl IntoIterator<Item = &'v str>) -> Box<[Box<str>]> {
    values.into_iter().map(Box::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context_with_units(values: &[&str]) -> Context {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Context {
            certificate_fields: [("Subject.OrganizationalUnit".to_owned(), values)].into(),
            ..Context::default()
        }
    }

    fn substitute(name: &str, context: &Context) -> Result<String, Missing> {
        let key = Key::parse(name);
        let values = Values::resolve([&key].into_iter(), context, "arn:");
        values.substitute(&key).map(str::to_owned)
    }

    #[test]
    fn the_values_of_a_certificate_field_are_counted_from_the_one_without_suffix() {
        let context = context_with_units(&["a", "b", "c", "d", "e", "f"]);
        let unit = |suffix: &str| {
            substitute(&format!("iot:Certificate.Subject.OrganizationalUnit{suffix}"), &context)
        };
        assert_eq!(unit("").as_deref(), Ok("a"));
        assert_eq!(unit(".0").as_deref(), Ok("a"));
        assert_eq!(unit(".1").as_deref(), Ok("b"));
        assert_eq!(unit(".4").as_deref(), Ok("e"));
        assert_eq!(unit(".5"), Err(Missing::CertificateItem));
        assert_eq!(unit(".List"), Err(Missing::OnlyInConditions));
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let context = context_with_units(&["ü".repeat(1025).as_str()]);
        let value = substitute("iot:Certificate.Subject.OrganizationalUnit", &context);
        assert_eq!(value, Ok("ü".repeat(1024)));
    }

    #[test]
    fn a_value_with_a_wildcard_is_not_substituted() {
        for character in UNSAFE {
            let context = Context {
                client_id: Some(format!("a{character}b")),
                ..context_with_units(&[&character.to_string()])
            };
            for name in ["iot:ClientId", "iot:Certificate.Subject.OrganizationalUnit"] {
                assert_eq!(substitute(name, &context), Err(Missing::Unsafe(character)));
            }
        }
    }
}

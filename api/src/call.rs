//! One call of one operation: its typed inputs, and the registry to work on.
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use jitp_provisioner::{AuditedCall, Provisioner, Publication, Registry};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::publication;
use crate::route::Match;
use crate::service::Shared;
use crate::text::Text;

/// A verified request of one operation. Inputs are taken by name and decoded by type; every error names its member.
pub(crate) struct Call {
    shared: Arc<Shared>,
    provisioner: Provisioner,
    operation: &'static str,
    /// That the caller signed for.
    region: String,
    labels: Vec<(&'static str, String)>,
    query: HashMap<String, String>,
    headers: HeaderMap,
    body: Map<String, Value>,
    /// The body as it is, of a message.
    payload: Bytes,
}

impl Call {
    /// Takes a request apart. Fails when path, query or body are malformed as a whole.
    pub fn decode(
        shared: Arc<Shared>,
        found: &Match<'_>,
        region: String,
        parts: Parts,
        body: &Bytes,
    ) -> Result<Self, ApiError> {
        let mut labels = Vec::with_capacity(found.labels.len());
        for (name, raw) in &found.labels {
            let text = percent_decode(raw, false).ok_or_else(|| ApiError::invalid(name, MALFORMED_ESCAPE))?;
            labels.push((*name, text));
        }
        Ok(Self {
            provisioner: shared.provisioner.clone(),
            shared,
            operation: found.route.operation,
            region,
            labels,
            query: decode_query(parts.uri.query().unwrap_or_default())?,
            headers: parts.headers,
            body: if found.route.is_message() { Map::new() } else { decode_body(body)? },
            payload: if found.route.is_message() { body.clone() } else { Bytes::new() },
        })
    }

    /// The same with what it commits on behalf of an audited call.
    pub fn audited_as(self, audited: &Arc<AuditedCall>) -> Self {
        Self { provisioner: self.provisioner.on_behalf_of(audited), ..self }
    }
    /// The operation's name.
    pub fn operation(&self) -> &'static str {
        self.operation
    }
    /// The state of the API.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
    /// The provisioner.
    pub fn provisioner(&self) -> &Provisioner {
        &self.provisioner
    }
    /// The registry.
    pub fn registry(&self) -> &Registry {
        self.provisioner.registry()
    }

    /// The region that the caller signed for, and reads ARNs of.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// All inputs in the path, decoded.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.labels.iter().map(|(name, text)| (*name, text.as_str()))
    }
    /// An input in the query, as it is.
    pub fn raw_query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
    /// An input in the JSON body, as it is.
    pub fn raw_member(&self, name: &str) -> Option<&Value> {
        self.body.get(name)
    }
    /// A header, if it is ASCII text.
    pub fn raw_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The message that this call brings.
    pub fn publication(&self) -> Result<Publication, ApiError> {
        let topic = self.label::<String>("topic").required()?;
        publication::read(topic, &self.query, &self.headers, self.payload.clone())
    }

    /// An input in the path.
    pub fn label<T: DeserializeOwned>(&self, name: &'static str) -> Input<T> {
        let text = self.labels.iter().find(|(label, _)| *label == name).map(|(_, text)| text.as_str());
        Input::from_text(name, text)
    }
    /// An input in the query.
    pub fn query<T: DeserializeOwned>(&self, name: &'static str) -> Input<T> {
        Input::from_text(name, self.query.get(name).map(String::as_str))
    }
    /// An input in a header.
    pub fn header<T: DeserializeOwned>(&self, name: &'static str) -> Input<T> {
        match self.headers.get(name).map(|value| value.to_str()) {
            None => Input::from_text(name, None),
            Some(Ok(text)) => Input::from_text(name, Some(text)),
            Some(Err(_)) => Input { name, value: Err(ApiError::invalid(name, "expected ASCII text")) },
        }
    }
    /// An input in the JSON body. `null` is as good as absent.
    pub fn member<T: DeserializeOwned>(&self, name: &'static str) -> Input<T> {
        let value = match self.body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| ApiError::invalid(name, error)),
        };
        Input { name, value }
    }
    /// A change in the JSON body: absent is `None`, `null` is `Some(None)`.
    pub fn nullable_member<T: DeserializeOwned>(
        &self,
        name: &'static str,
    ) -> Result<Option<Option<T>>, ApiError> {
        match self.body.contains_key(name) {
            true => self.member(name).optional().map(Some),
            false => Ok(None),
        }
    }
}

/// A named input, decoded or refused.
pub(crate) struct Input<T> {
    name: &'static str,
    value: Result<Option<T>, ApiError>,
}

impl<T> Input<T> {
    /// Its name in the request.
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// The value; absent is an error.
    pub fn required(self) -> Result<T, ApiError> {
        self.value?.ok_or_else(|| ApiError::invalid(self.name, "is required"))
    }
    /// The value, if present.
    pub fn optional(self) -> Result<Option<T>, ApiError> {
        self.value
    }
    /// The value, or its type's default.
    pub fn or_default(self) -> Result<T, ApiError>
    where
        T: Default,
    {
        self.value.map(Option::unwrap_or_default)
    }
}

impl<T: DeserializeOwned> Input<T> {
    fn from_text(name: &'static str, text: Option<&str>) -> Self {
        let decode = |text| T::deserialize(Text(text)).map_err(|error| ApiError::invalid(name, error));
        Self { name, value: text.map(decode).transpose() }
    }
}

const MALFORMED_ESCAPE: &str = "expected UTF-8, percent-encoded";

pub(crate) fn decode_query(query: &str) -> Result<HashMap<String, String>, ApiError> {
    let mut decoded = HashMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let malformed = || ApiError::invalid_request(format!("the query string: {MALFORMED_ESCAPE}"));
        let name = percent_decode(name, true).ok_or_else(malformed)?;
        let value = percent_decode(value, true).ok_or_else(malformed)?;
        if decoded.contains_key(&name) {
            return Err(ApiError::invalid(&name, "given more than once"));
        }
        decoded.insert(name, value);
    }
    Ok(decoded)
}

fn decode_body(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(ApiError::invalid_request("the body: expected a JSON object")),
        Err(error) => Err(ApiError::invalid_request(format!("the body is not JSON: {error}"))),
    }
}

/// `None`: a broken escape, or not UTF-8. In a query `+` is a space.
pub(crate) fn percent_decode(raw: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_refused() {
        assert_eq!(percent_decode("arn%3Aaws%2fcert", false).as_deref(), Some("arn:aws/cert"));
        assert_eq!(percent_decode("a+b", false).as_deref(), Some("a+b"));
        assert_eq!(percent_decode("a+b%20c", true).as_deref(), Some("a b c"));
        assert_eq!(percent_decode("%C3%BC", false).as_deref(), Some("ü"));
        for broken in ["%", "%2", "%zz", "%+1", "%ff", "a%"] {
            assert_eq!(percent_decode(broken, false), None, "{broken}");
        }
    }

    #[test]
    fn a_query_is_a_map_and_a_name_given_twice_is_refused() {
        let query = decode_query("a=1&&b=x%3Dy&c").unwrap();
        assert_eq!(query["a"], "1");
        assert_eq!(query["b"], "x=y");
        assert_eq!(query["c"], "");
        assert!(decode_query("a=1&a=2").is_err());
        assert!(decode_query("a=%zz").is_err());
    }

    #[test]
    fn a_body_is_an_object_or_nothing() {
        assert!(decode_body(b"").unwrap().is_empty());
        assert!(decode_body(b"null").unwrap().is_empty());
        assert_eq!(decode_body(br#"{"a":1}"#).unwrap().len(), 1);
        for bad in ["[]", "1", "{", "{\"a\":1}x", "\u{feff}{}"] {
            assert!(decode_body(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(decode_body("[".repeat(100_000).as_bytes()).is_err());
    }
}

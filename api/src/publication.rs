//! A message in an HTTP request: `POST /topics/{topic}` of AWS's data plane, of operators and of devices
//! (`spec/mqtt-behaviour.md` section 7).
use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use jitp_provisioner::Publication;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// User properties: base64 of a JSON list of objects.
const USER_PROPERTIES: &str = "x-amz-mqtt5-user-properties";
/// `UTF8_DATA` or `UNSPECIFIED_BYTES`.
const PAYLOAD_FORMAT: &str = "x-amz-mqtt5-payload-format-indicator";
/// Base64.
const CORRELATION_DATA: &str = "x-amz-mqtt5-correlation-data";

/// Reads it: the query has `qos`, `retain`, `messageExpiry` (seconds), `contentType`, `responseTopic`; headers have what
/// else MQTT 5 carries; the body is the payload.
pub(crate) fn read(
    topic: String,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    payload: Bytes,
) -> Result<Publication, ApiError> {
    let given = |name: &str| query.get(name).filter(|value| !value.is_empty());
    let at_least_once = match given("qos").map_or("0", String::as_str) {
        "0" => false,
        "1" => true,
        other => return Err(ApiError::invalid("qos", format_args!("expected 0 or 1, got {other:?}"))),
    };
    let retain = match given("retain") {
        None => false,
        Some(flag) => self::flag("retain", flag)?,
    };
    let expiry = given("messageExpiry").map(|seconds| match seconds.parse::<u32>() {
        // AWS takes 0 for 1.
        Ok(seconds) => Ok(Duration::from_secs(u64::from(seconds.max(1)))),
        Err(_) => Err(ApiError::invalid("messageExpiry", "expected seconds")),
    });
    let payload_is_utf8 = match header(headers, PAYLOAD_FORMAT)? {
        None | Some("UNSPECIFIED_BYTES") => false,
        Some("UTF8_DATA") => true,
        Some(_) => {
            return Err(ApiError::invalid(PAYLOAD_FORMAT, "expected UTF8_DATA or UNSPECIFIED_BYTES"));
        }
    };
    if payload_is_utf8 && std::str::from_utf8(&payload).is_err() {
        return Err(ApiError::invalid(PAYLOAD_FORMAT, "the payload is not UTF-8"));
    }
    let correlation_data = match header(headers, CORRELATION_DATA)? {
        Some(text) => Some(Bytes::from(decode(CORRELATION_DATA, text)?)),
        None => None,
    };
    let user_properties = match header(headers, USER_PROPERTIES)? {
        Some(text) => user_properties(&decode(USER_PROPERTIES, text)?)?,
        None => Vec::new(),
    };
    Ok(Publication {
        topic,
        payload,
        at_least_once,
        retain,
        expiry: expiry.transpose()?,
        content_type: given("contentType").cloned(),
        response_topic: given("responseTopic").cloned(),
        correlation_data,
        payload_is_utf8,
        user_properties,
    })
}

/// `true` or `false`, in any case, as the data plane has its flags.
pub(crate) fn flag(name: &str, text: &str) -> Result<bool, ApiError> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ApiError::invalid(name, format_args!("expected true or false, got {text:?}"))),
    }
}

/// As AWS writes user properties: a list of objects with a text each.
pub(crate) fn user_properties_json(properties: &[(String, String)]) -> String {
    let object = |(name, value): &(String, String)| {
        Value::Object(Map::from_iter([(name.clone(), Value::String(value.clone()))]))
    };
    Value::Array(properties.iter().map(object).collect()).to_string()
}

fn user_properties(json: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    let malformed =
        || ApiError::invalid(USER_PROPERTIES, "expected base64 of a JSON list like [{\"name\":\"value\"}]");
    // Some SDKs encode the JSON that they are given once more, as a text.
    let list = match serde_json::from_slice(json) {
        Ok(Value::String(text)) => serde_json::from_str(&text),
        _ => serde_json::from_slice(json),
    };
    let list: Vec<Map<String, Value>> = list.map_err(|_| malformed())?;
    let mut properties = Vec::new();
    for (name, value) in list.into_iter().flatten() {
        match value {
            Value::String(value) => properties.push((name, value)),
            _ => return Err(malformed()),
        }
    }
    Ok(properties)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Err(_)) => Err(ApiError::invalid(name, "expected ASCII text")),
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, ApiError> {
    STANDARD.decode(text).map_err(|_| ApiError::invalid(name, "expected base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
    ) -> Result<Publication, ApiError> {
        let query = query.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
        });
        read("a/b".into(), &query, &headers.collect(), Bytes::from_static(b"hello"))
    }

    #[test]
    fn everything_that_mqtt_5_carries_can_be_given() {
        let query = [
            ("qos", "1"),
            ("retain", "TRUE"),
            ("messageExpiry", "60"),
            ("contentType", "t"),
            ("responseTopic", "r"),
        ];
        let user = STANDARD.encode(r#"[{"a":"1"},{"a":"2"}]"#);
        let correlation = STANDARD.encode("c");
        let headers = [
            (USER_PROPERTIES, user.as_str()),
            (PAYLOAD_FORMAT, "UTF8_DATA"),
            (CORRELATION_DATA, correlation.as_str()),
        ];
        let twice = STANDARD.encode(serde_json::to_string(r#"[{"a":"1"},{"a":"2"}]"#).unwrap());
        let again = publication(&[], &[(USER_PROPERTIES, twice.as_str())]).unwrap();
        let expected = Publication {
            topic: "a/b".into(),
            payload: Bytes::from_static(b"hello"),
            at_least_once: true,
            retain: true,
            expiry: Some(Duration::from_secs(60)),
            content_type: Some("t".into()),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(b"c")),
            payload_is_utf8: true,
            user_properties: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
        };
        assert_eq!(again.user_properties, expected.user_properties);
        assert_eq!(user_properties_json(&expected.user_properties), r#"[{"a":"1"},{"a":"2"}]"#);
        assert_eq!(publication(&query, &headers), Ok(expected));
    }

    #[test]
    fn without_anything_it_is_a_plain_message_of_qos_0() {
        let plain = Publication {
            topic: "a/b".into(),
            payload: Bytes::from_static(b"hello"),
            ..Publication::default()
        };
        assert_eq!(publication(&[], &[]), Ok(plain.clone()));
        assert_eq!(publication(&[("qos", "0"), ("retain", "false"), ("contentType", "")], &[]), Ok(plain));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_its_name() {
        for (query, name) in
            [(("qos", "2"), "qos"), (("retain", "yes"), "retain"), (("messageExpiry", "-1"), "messageExpiry")]
        {
            let error = publication(&[query], &[]).unwrap_err();
            assert!(error.message().starts_with(name), "{error:?}");
        }
        let not_a_list = STANDARD.encode(r#"{"a":"1"}"#);
        let not_text = STANDARD.encode(r#"[{"a":1}]"#);
        for header in [
            (USER_PROPERTIES, "%"),
            (USER_PROPERTIES, not_a_list.as_str()),
            (USER_PROPERTIES, not_text.as_str()),
            (PAYLOAD_FORMAT, "utf8"),
            (CORRELATION_DATA, "%"),
        ] {
            let error = publication(&[], &[header]).unwrap_err();
            assert!(error.message().starts_with(header.0), "{error:?}");
        }
    }
}

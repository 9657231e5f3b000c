//! Arguments of the form NAME=VALUE.
use serde_json::{Map, Value};

/// For clap: the text up to the first `=`, and the rest.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// Pairs as a JSON object; `None`: there are none.
pub fn object(pairs: &[(String, String)]) -> Option<Value> {
    let members: Map<String, Value> =
        pairs.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

/// Pairs as AWS writes tags.
pub fn tags(pairs: &[(String, String)]) -> Vec<Value> {
    pairs.iter().map(|(key, value)| serde_json::json!({ "Key": key, "Value": value })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_empty_and_hold_an_equals_sign_a_name_must_not() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}

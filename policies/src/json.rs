//! JSON that keeps duplicate members, so that they can be refused where they stand.
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Deepest nesting of arrays and objects. A policy document needs 7.
const MAX_DEPTH: usize = 10;

/// A JSON value; members in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let json = Nested(0).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(json)
    }

    /// With its article, for messages.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads one value that stands inside that many arrays and objects.
struct Nested(usize);

impl Nested {
    fn deeper<E: Error>(&self) -> Result<usize, E> {
        if self.0 < MAX_DEPTH { Ok(self.0 + 1) } else { Err(E::custom("nested too deeply for a policy")) }
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Nested(depth))? {
            array.push(element);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let mut object = Vec::new();
        while let Some(name) = members.next_key()? {
            object.push((name, members.next_value_seed(Nested(depth))?));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_members_are_kept() {
        let json = Json::parse(r#"{"a": 1, "a": null}"#).unwrap();
        let expected = vec![("a".to_owned(), Json::Number(1.into())), ("a".to_owned(), Json::Null)];
        assert_eq!(json, Json::Object(expected));
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(Json::parse(&("[".repeat(10) + &"]".repeat(10))).is_ok());
        for depth in [11, 100_000] {
            let error = Json::parse(&"[".repeat(depth)).unwrap_err().to_string();
            assert!(error.contains("nested too deeply"), "{error}");
        }
    }

    #[test]
    fn text_after_the_value_is_refused() {
        assert!(Json::parse("{} {}").is_err());
    }
}

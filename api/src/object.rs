//! A member that is a JSON object.
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A struct that is read from a JSON object only: by itself serde also takes an array of the fields in their order.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Pair {
        a: u32,
        b: Option<u32>,
    }

    #[test]
    fn an_array_of_the_fields_is_not_an_object() {
        let Object(Pair { a, b }) = serde_json::from_str(r#"{"a":1,"c":2}"#).unwrap();
        assert_eq!((a, b), (1, None));
        for other in ["[1,2]", "1", "\"a\"", "true"] {
            let error = serde_json::from_str::<Object<Pair>>(other).unwrap_err().to_string();
            assert!(error.contains("expected an object"), "{error}");
        }
    }
}

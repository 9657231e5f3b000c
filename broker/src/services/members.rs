//! The members of a request, as far as any service looks at them. Unknown ones are read over, whatever they hold.
use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// One map with names as keys.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Members(BTreeMap<String, Value>);

/// A value.
#[derive(Debug, PartialEq)]
enum Value {
    Text(String),
    /// A map of texts to texts.
    Texts(BTreeMap<String, String>),
    Null,
    /// Of no service's interest.
    Other,
}

impl Members {
    /// A text; `None` if it is absent or null. The error is for the device.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} must be a string")),
        }
    }

    /// Texts by name; none if it is absent or null.
    pub(super) fn texts(&mut self, name: &str) -> Result<BTreeMap<String, String>, String> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Texts(texts)) => Ok(texts),
            Some(_) => Err(format!("{name} must be a map of strings to strings")),
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<Value, Value>()? {
                    let Value::Text(name) = name else {
                        return Err(A::Error::custom("a key is not a string"));
                    };
                    insert_once(&mut members, name, value)?;
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueReader)
    }
}

struct ValueReader;

/// Values that are read over.
macro_rules! other {
    ($($visit:ident: $kind:ty),+) => {
        $(fn $visit<E: Error>(self, _: $kind) -> Result<Value, E> { Ok(Value::Other) })+
    };
}

impl<'de> Visitor<'de> for ValueReader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    other! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64,
        visit_bytes: &[u8]
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<Value>()?.is_some() {}
        Ok(Value::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut texts = Some(BTreeMap::new());
        while let Some((name, value)) = map.next_entry::<Value, Value>()? {
            match (name, value, &mut texts) {
                (Value::Text(name), Value::Text(value), Some(texts)) => insert_once(texts, name, value)?,
                _ => texts = None,
            }
        }
        Ok(texts.map_or(Value::Other, Value::Texts))
    }
    /// A tagged value of CBOR: the tag, and what it tags.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        const TAG_AND_VALUE: usize = 2;
        let (_, tagged) = data.variant::<Value>()?;
        tagged.tuple_variant(TAG_AND_VALUE, ValueReader)
    }
}

/// A name that comes twice could mean the one to us and the other to someone else.
fn insert_once<V, E: Error>(into: &mut BTreeMap<String, V>, name: String, value: V) -> Result<(), E> {
    if into.contains_key(&name) {
        let shown: String = name.chars().take(64).collect();
        return Err(E::custom(format_args!("{shown:?} comes twice")));
    }
    into.insert(name, value);
    Ok(())
}

/// What must hold for any payload whatsoever.
#[cfg(any(test, feature = "fuzzing"))]
pub fn exercise(payload: &[u8]) {
    use super::encoding::Encoding;
    for encoding in [Encoding::Json, Encoding::Cbor] {
        match encoding.read(payload) {
            Ok(mut members) => {
                let kept: usize = members.0.iter().map(|(name, value)| name.len() + value.bytes()).sum();
                // JSON and CBOR only ever shorten a text, and what is not text is not kept.
                assert!(kept <= payload.len());
                let _ = members.text("certificateOwnershipToken");
                let _ = members.texts("parameters");
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Texts(texts) => texts.iter().map(|(name, value)| name.len() + value.len()).sum(),
            Self::Null | Self::Other => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoding::Encoding;
    use super::*;
    use ciborium::cbor;
    use proptest::prelude::*;

    type Read = Result<(Option<String>, BTreeMap<String, String>), String>;

    fn read(encoding: Encoding, payload: &[u8]) -> Read {
        let mut members = encoding.read(payload)?;
        Ok((members.text("token")?, members.texts("parameters")?))
    }
    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
    fn written(value: Result<ciborium::Value, ciborium::value::Error>) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(&value.unwrap(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn json_is_read_member_by_member_and_what_is_unknown_is_read_over() {
        for (payload, expected) in [
            (r#"{}"#, (None, texts(&[]))),
            (r#" {"token":"a","parameters":{"Serial":"K-1"}} "#, (Some("a"), texts(&[("Serial", "K-1")]))),
            (r#"{"token":null,"parameters":null}"#, (None, texts(&[]))),
            (
                r#"{"x":[1,{"y":[true,null,1.5]}],"z":{"n":{}},"token":"\u00fc","e":1e400}"#.replace("1e400", "1e4").leak(),
                (Some("ü"), texts(&[])),
            ),
        ] {
            let expected = (expected.0.map(str::to_owned), expected.1);
            assert_eq!(read(Encoding::Json, payload.as_bytes()), Ok(expected), "{payload}");
        }
    }

    #[test]
    fn json_that_is_something_else_is_refused() {
        for payload in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{",
            "{}x",
            "{}{}",
            "{\"token\":1}",
            "{\"token\":{}}",
            "{\"parameters\":[]}",
            "{\"parameters\":\"a\"}",
            "{\"parameters\":{\"a\":1}}",
            "{\"parameters\":{\"a\":null}}",
            "{\"parameters\":{\"a\":{}}}",
            "{\"token\":\"a\",\"token\":\"a\"}",
            "{\"parameters\":{\"a\":\"1\",\"a\":\"2\"}}",
            "\u{feff}{}",
            "{\"a\":\"\u{0}\"}",
        ] {
            assert!(read(Encoding::Json, payload.as_bytes()).is_err(), "{payload}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(Encoding::Json, deep.as_bytes()).is_err());
        assert!(read(Encoding::Json, b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn cbor_is_read_member_by_member_and_what_is_unknown_is_read_over() {
        let whole = written(cbor!({
            "token" => "a", "parameters" => { "Serial" => "K-1" },
            "x" => [1, -7, 1.5, null, true, { 7 => [] }, { [] => {} }], "big" => u64::MAX,
            "bytes" => ciborium::Value::Bytes(vec![1; 5000]),
            "when" => ciborium::Value::Tag(1, Box::new(ciborium::Value::Integer(7.into()))),
            "tagged" => [ciborium::Value::Tag(99, Box::new(ciborium::Value::Text("t".into())))],
            "long" => "y".repeat(9000),
        }));
        assert_eq!(read(Encoding::Cbor, &whole), Ok((Some("a".into()), texts(&[("Serial", "K-1")]))));
        assert_eq!(read(Encoding::Cbor, &[0xa0]), Ok((None, texts(&[]))));
    }

    #[test]
    fn cbor_of_indefinite_lengths_is_read_too() {
        // {_ (_ "to", "ken"): (_ "a", "b"), "parameters": {_ (_ "S"): "1"}}
        let payload =
            b"\xbf\x7f\x62to\x63ken\xff\x7f\x61a\x61b\xff\x6aparameters\xbf\x7f\x61S\xff\x611\xff\xff";
        assert_eq!(read(Encoding::Cbor, payload), Ok((Some("ab".into()), texts(&[("S", "1")]))));
        assert_eq!(read(Encoding::Cbor, b"\xbf\xff"), Ok((None, texts(&[]))));
    }

    #[test]
    fn cbor_that_is_something_else_or_lies_about_a_length_is_refused() {
        for payload in [
            &b""[..],
            b"\xf6",
            b"\x80",
            b"\x61a",
            b"\xa0\x00",
            b"\xa1",
            b"\xa1\x01\x02",
            b"\xa1\x65token\x01",
            b"\xa1\x65token\x45bytes",
            b"\xa2\x65token\x61a\x65token\x61a",
            b"\xa1\x6aparameters\xa1\x61a\x01",
            b"\xa1\x61a\x62\xff\xff",
            b"\xff",
            // Lengths of 2^63 and more.
            b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xa1\x61a\x7b\x7f\xff\xff\xff\xff\xff\xff\xffx",
            b"\xa1\x61a\x5b\x7f\xff\xff\xff\xff\xff\xff\xffx",
            b"\xa1\x61a\x9b\x7f\xff\xff\xff\xff\xff\xff\xff\x00",
            b"\xa1\x61a\xbb\x7f\xff\xff\xff\xff\xff\xff\xff\x00",
            b"\xa1\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(read(Encoding::Cbor, payload).is_err(), "{payload:x?}");
        }
        for open in [0x81_u8, 0x9f, 0xa1, 0xbf, 0xc1, 0x7f, 0x5f] {
            let deep = [&b"\xa1\x61a"[..], &vec![open; 100_000]].concat();
            assert!(read(Encoding::Cbor, &deep).is_err(), "{open:x}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_makes_reading_panic_or_keep_more_than_came(payload: Vec<u8>) {
            exercise(&payload);
        }

        #[test]
        fn a_damaged_request_is_read_or_refused(at in 0_usize..200, with: u8, cut in 0_usize..200) {
            let request = cbor!({
                "certificateOwnershipToken" => "x".repeat(40),
                "parameters" => { "Serial" => "K-0042", "Site" => "oslo" }, "more" => [1, { 2 => [3.5, null] }],
            });
            let mut bytes = written(request);
            let length = bytes.len();
            bytes[at % length] = with;
            bytes.truncate(length - cut % length);
            exercise(&bytes);
        }

        #[test]
        fn both_encodings_carry_the_same(token in ".{0,40}", parameters: BTreeMap<String, String>) {
            #[derive(serde::Serialize)]
            struct Request<'a> { token: &'a str, parameters: &'a BTreeMap<String, String> }
            for encoding in [Encoding::Json, Encoding::Cbor] {
                let bytes = encoding.write(&Request { token: &token, parameters: &parameters }).unwrap();
                prop_assert_eq!(read(encoding, &bytes), Ok((Some(token.clone()), parameters.clone())));
            }
        }
    }
}

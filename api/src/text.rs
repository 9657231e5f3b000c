//! Typed values from the text of a path, a query or a header, and text with bounds.
use std::fmt::Display;
use std::marker::PhantomData;

use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads a value from text, so that a path, a query and a header decode by the same types as a JSON body:
/// `true`/`false`, decimal digits, names, enums.
pub(crate) struct Text<'a>(pub &'a str);

impl Text<'_> {
    fn digits<T: std::str::FromStr<Err: Display>>(&self) -> Result<T, Error> {
        if self.0.is_empty() || !self.0.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::custom("expected a number in decimal digits"));
        }
        self.0.parse().map_err(Error::custom)
    }
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Error::custom("expected true or false")),
        }
    }
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.digits()?)
    }
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.digits()?)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }
    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// Text of `MIN` to `MAX` characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bounded<const MIN: usize, const MAX: usize>(pub String);

impl<const MIN: usize, const MAX: usize> serde::Serialize for Bounded<MIN, MAX> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let length = text.chars().count();
        if (MIN..=MAX).contains(&length) {
            Ok(Self(text))
        } else {
            Err(D::Error::custom(format_args!("expected {MIN} to {MAX} characters, got {length}")))
        }
    }
}

/// Text of 1 to `MAX` characters, each an ASCII letter, a digit, or one of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain<S, const MAX: usize>(pub String, PhantomData<S>);

/// What a [`Plain`] text may hold beside letters and digits.
pub(crate) trait Marks {
    const MARKS: &'static str;
}

impl<'de, S: Marks, const MAX: usize> Deserialize<'de> for Plain<S, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || S::MARKS.contains(c);
        if (1..=MAX).contains(&text.len()) && text.chars().all(legal) {
            Ok(Self(text, PhantomData))
        } else {
            Err(D::Error::custom(format_args!("expected 1 to {MAX} characters of a-z A-Z 0-9 {}", S::MARKS)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jitp_provisioner::names::ThingName;
    use jitp_provisioner::records::CertificateStatus;

    fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
        T::deserialize(Text(text)).map_err(|e| e.to_string())
    }

    #[test]
    fn booleans_numbers_names_and_enums_are_read_from_text() {
        assert_eq!(read::<bool>("true"), Ok(true));
        assert_eq!(read::<u32>("17"), Ok(17));
        assert_eq!(read::<Option<u64>>("17"), Ok(Some(17)));
        assert_eq!(read::<String>("17"), Ok("17".to_string()));
        assert_eq!(read::<ThingName>("pump:1").map(String::from), Ok("pump:1".to_string()));
        assert_eq!(read::<CertificateStatus>("ACTIVE"), Ok(CertificateStatus::Active));
    }

    #[test]
    fn text_that_is_no_such_value_is_refused_with_what_was_expected() {
        assert_eq!(read::<bool>("True"), Err("expected true or false".to_string()));
        for text in ["", "-1", "+1", " 1", "1.0", "99999999999", "x"] {
            assert!(read::<u32>(text).is_err(), "{text:?}");
        }
        assert!(read::<ThingName>("a b").unwrap_err().contains("thing name"));
        assert!(read::<CertificateStatus>("active").unwrap_err().contains("ACTIVE"));
        assert!(read::<Vec<String>>("a").is_err());
    }

    #[test]
    fn plain_text_has_letters_digits_and_its_marks() {
        struct Dots;
        impl Marks for Dots {
            const MARKS: &'static str = ".";
        }
        assert_eq!(read::<Plain<Dots, 3>>("a.1").map(|text| text.0), Ok("a.1".to_string()));
        for text in ["", "a.1b", "a b", "a-b", "é"] {
            assert!(read::<Plain<Dots, 3>>(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bounded_text_counts_characters() {
        assert_eq!(read::<Bounded<1, 2>>("éé"), Ok(Bounded("éé".to_string())));
        assert!(read::<Bounded<1, 2>>("").is_err());
        assert!(read::<Bounded<1, 2>>("abc").is_err());
    }
}

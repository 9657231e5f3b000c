//! The lines of an archive.
use crate::clock::Timestamp;
use crate::store::{Key, Table};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What the first line says that this is.
pub(crate) const FORMAT: &str = "jitp-archive";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub format: String,
    pub version: u32,
    pub account: String,
    pub region: String,
    pub created_at: Timestamp,
    /// The version of the program that wrote it.
    pub program: String,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trailer {
    pub records: u64,
    /// 64 hexadecimal digits: of all lines before this one, with their ends.
    pub sha256: String,
}

/// A line between them: one row. Text and JSON are shown as such, anything else in hexadecimal digits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line<'a> {
    table: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
}

/// A row of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub table: Table,
    pub key: Key,
    pub value: Vec<u8>,
}

impl Row {
    /// As a line, without its end.
    pub(crate) fn to_line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let text = std::str::from_utf8(&self.key).ok();
        let text = text.filter(|key| key.chars().all(|c| c == '\0' || !c.is_control()));
        let json = std::str::from_utf8(&self.value).ok().filter(|value| !value.contains(['\n', '\r']));
        let json: Option<&RawValue> = json.and_then(|value| serde_json::from_str(value).ok());
        // White space around the JSON would be lost.
        let json = json.filter(|json| json.get().len() == self.value.len());
        let line = Line {
            table: self.table.name(),
            key: text.map(str::to_owned),
            key_hex: text.is_none().then(|| hex::encode(&self.key)),
            value: json,
            value_hex: (json.is_none() && !self.value.is_empty()).then(|| hex::encode(&self.value)),
        };
        serde_json::to_vec(&line)
    }

    /// From a line, without its end. The error is for a person.
    pub(crate) fn from_line(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let table = Table::ALL.iter().copied().find(|table| table.name() == line.table);
        let table = table.ok_or_else(|| format!("there is no table {:?}", line.table))?;
        let digits = |name: &str, text: String| {
            hex::decode(text).map_err(|_| format!("{name} is not a row of hexadecimal digits"))
        };
        let key = match (line.key, line.key_hex) {
            (Some(key), None) => key.into_bytes(),
            (None, Some(text)) => digits("keyHex", text)?,
            _ => return Err("expected either key or keyHex".into()),
        };
        let value = match (line.value, line.value_hex) {
            (Some(value), None) => value.get().as_bytes().to_vec(),
            (None, Some(text)) => digits("valueHex", text)?,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err("expected value or valueHex, not both".into()),
        };
        Ok(Self { table, key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_is_shown_as_text_and_json_where_it_is_that() {
        let line = |table, key: &[u8], value: &[u8]| {
            let row = Row { table, key: key.to_vec(), value: value.to_vec() };
            String::from_utf8(row.to_line().unwrap()).unwrap()
        };
        assert_eq!(
            line(Table::Things, b"pump-1", br#"{"v":1,"r":{}}"#),
            r#"{"table":"things","key":"pump-1","value":{"v":1,"r":{}}}"#
        );
        assert_eq!(line(Table::ChildGroups, b"a\0b", b""), r#"{"table":"child-groups","key":"a\u0000b"}"#);
        assert_eq!(
            line(Table::CertificatesByCa, &[0xff, 1], &[0, 1]),
            r#"{"table":"certificates-by-ca","keyHex":"ff01","valueHex":"0001"}"#
        );
    }

    #[test]
    fn a_line_that_is_no_row_says_why() {
        for (line, expected) in [
            ("", "EOF"),
            ("{}", "table"),
            (r#"{"table":"robots","key":"a"}"#, "no table \"robots\""),
            (r#"{"table":"things"}"#, "either key or keyHex"),
            (r#"{"table":"things","key":"a","keyHex":"00"}"#, "either key or keyHex"),
            (r#"{"table":"things","keyHex":"0"}"#, "hexadecimal"),
            (r#"{"table":"things","key":"a","valueHex":"x"}"#, "hexadecimal"),
            (r#"{"table":"things","key":"a","value":1,"valueHex":"00"}"#, "not both"),
            (r#"{"table":"things","key":"a","robots":1}"#, "unknown field"),
        ] {
            let error = Row::from_line(line.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_row_reads_back_as_it_was(
            table in proptest::sample::select(Table::ALL),
            key in proptest::collection::vec(any::<u8>(), 0..40),
            text in "\\PC{0,20}",
            value in proptest::collection::vec(any::<u8>(), 0..40),
            json in "[ \\[\\]{}\":,0-9a-c\n]{0,20}",
        ) {
            for (key, value) in [(key.clone(), value), (text.into_bytes(), json.into_bytes())] {
                let row = Row { table, key, value };
                let line = row.to_line().unwrap();
                prop_assert!(!line.contains(&b'\n'));
                prop_assert_eq!(Row::from_line(&line).unwrap(), row);
            }
        }
    }
}

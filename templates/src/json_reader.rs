//! A strict reader of JSON (RFC 8259): duplicate keys are faults, depth is bounded, an error says line and
//! column.
use crate::json::{Member, Node, Value};
use crate::place::Place;
use std::collections::HashSet;
use std::sync::Arc;

/// Lists and objects within each other, at most. Ten nested functions need about 35.
pub(crate) const MAX_DEPTH: usize = 64;

/// A mistake in the text.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Reads one document. A syntax error ends the reading; a duplicate key does not: the first value is kept.
pub(crate) fn read(text: &str) -> Result<(Node, Vec<Fault>), Fault> {
    let mut reader = Reader { text, at: 0, duplicates: Vec::new() };
    if text.starts_with('\u{feff}') {
        return Err(
            reader.fault(&Place::ROOT, "there is a byte order mark: save the text as UTF-8 without one")
        );
    }
    reader.skip_space();
    let node = reader.value(Place::ROOT, 0)?;
    reader.skip_space();
    if reader.peek().is_some() {
        return Err(reader.fault(&Place::ROOT, "there is text after the end of the document: remove it"));
    }
    Ok((node, reader.duplicates))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    duplicates: Vec<Fault>,
}

impl<'t> Reader<'t> {
    fn value(&mut self, place: Place, depth: usize) -> Result<Node, Fault> {
        let value = match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                return Err(self.fault(&place, &format!("nested more than {MAX_DEPTH} deep: flatten it")));
            }
            Some(b'{') => self.object(&place, depth + 1)?,
            Some(b'[') => self.list(&place, depth + 1)?,
            Some(b'"') => Value::Text(self.string(&place)?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number(&place)?),
            _ => self.word(&place)?,
        };
        Ok(Node { place, value })
    }

    fn object(&mut self, place: &Place, depth: usize) -> Result<Value, Fault> {
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        let mut seen: HashSet<Arc<str>> = HashSet::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            match self.peek() {
                Some(b'"') => {}
                Some(b'}') => return Err(self.fault(place, "a comma stands before \"}\": remove it")),
                Some(_) => return Err(self.fault(place, "expected a member name in double quotes")),
                None => return Err(self.fault(place, "the text ends within an object: close it with \"}\"")),
            }
            let name: Arc<str> = self.string(place)?.into();
            self.skip_space();
            if !self.take(b':') {
                return Err(self.fault(place, "expected \":\" after a member name"));
            }
            self.skip_space();
            let member = place.member(name.clone(), self.at);
            let node = self.value(member, depth)?;
            if seen.insert(name.clone()) {
                members.push(Member { name, node });
            } else {
                let message = format!("duplicate member {}: keep one", crate::nearest::quoted(&name));
                self.duplicates.push(Fault { place: node.place, message });
            }
            self.skip_space();
            if self.take(b',') {
                self.skip_space();
            } else if self.take(b'}') {
                return Ok(Value::Object(members));
            } else {
                return Err(self.fault(place, "expected \",\" or \"}\" after a member"));
            }
        }
    }

    fn list(&mut self, place: &Place, depth: usize) -> Result<Value, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::List(items));
        }
        loop {
            if self.peek() == Some(b']') {
                return Err(self.fault(place, "a comma stands before \"]\": remove it"));
            }
            let element = place.element(items.len(), self.at);
            items.push(self.value(element, depth)?);
            self.skip_space();
            if self.take(b',') {
                self.skip_space();
            } else if self.take(b']') {
                return Ok(Value::List(items));
            } else {
                return Err(self.fault(place, "expected \",\" or \"]\" after an element"));
            }
        }
    }

    fn string(&mut self, place: &Place) -> Result<String, Fault> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.fault(place, "the text ends within a string: close it with a double quote"));
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(out);
                }
                '\\' => {
                    self.at += 1;
                    out.push(self.escape(place)?);
                }
                c if c < ' ' => {
                    return Err(
                        self.fault(place, "a line break or control character stands in a string: escape it")
                    );
                }
                c => {
                    self.at += c.len_utf8();
                    out.push(c);
                }
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, place: &Place) -> Result<char, Fault> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(place);
            }
            _ => return Err(self.fault(place, "unknown escape in a string: a backslash is written \"\\\\\"")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode_escape(&mut self, place: &Place) -> Result<char, Fault> {
        let first = self.four_hex_digits(place)?;
        let code = if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            self.at += 2;
            let second = self.four_hex_digits(place)?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.fault(place, "half of a surrogate pair in a string"));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.fault(place, "half of a surrogate pair in a string"))
    }

    fn four_hex_digits(&mut self, place: &Place) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(code) = digits.and_then(|d| u32::from_str_radix(d, 16).ok()) else {
            return Err(self.fault(place, "\"\\u\" needs four hexadecimal digits"));
        };
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self, place: &Place) -> Result<String, Fault> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && !self.digits() {
            return Err(self.fault(place, "a number needs a digit"));
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(
                self.fault(place, "a number must not start with 0: put it in double quotes if it is a text")
            );
        }
        if self.take(b'.') && !self.digits() {
            return Err(self.fault(place, "a number needs a digit after the point"));
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            if !self.digits() {
                return Err(self.fault(place, "a number needs a digit in its exponent"));
            }
        }
        Ok(self.text.get(start..self.at).unwrap_or_default().to_owned())
    }

    /// At least one digit.
    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn word(&mut self, place: &Place) -> Result<Value, Fault> {
        let rest = self.rest();
        for (word, value) in
            [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.fault(
            place,
            match rest.chars().next() {
                None => "the text ends where a value is expected",
                Some('\'') => "a string stands in double quotes, not in single ones",
                Some('/') => "JSON has no comments: remove it",
                Some(_) => "expected a value: an object, a list, a string in double quotes, a number, true, false or \
                null",
            },
        ))
    }

    fn fault(&self, place: &Place, message: &str) -> Fault {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Fault {
            place: place.clone(),
            message: format!("not JSON at line {line}, column {column}: {message}"),
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(text: &str) -> String {
        let fault = read(text).unwrap_err();
        format!("{}: {}", fault.place, fault.message)
    }

    #[test]
    fn members_keep_their_order_and_numbers_their_text() {
        let text = r#"{"b":[1.50,-0,1e3,true,false,null],"a":{"z":"\u00e9\ud83d\ude00\n\/","y":{}},"c":[]}"#;
        let (node, duplicates) = read(text).unwrap();
        assert!(duplicates.is_empty());
        let expected = "{\"b\":[1.50,-0,1e3,true,false,null],\"a\":{\"z\":\"é😀\\n/\",\"y\":{}},\"c\":[]}";
        assert_eq!(node.to_compact(), expected);
    }

    #[test]
    fn a_syntax_error_names_the_line_the_column_and_the_place() {
        let message = fault("{\n  \"a\": {\n    \"b\": 1,\n  }\n}");
        assert_eq!(message, "$.a: not JSON at line 4, column 3: a comma stands before \"}\": remove it");
        assert!(fault("{\"é\": 'x'}").contains("column 7: a string stands in double quotes"));
        assert!(fault("").contains("line 1, column 1: the text ends"));
        assert!(fault("{\"a\":1} x").contains("after the end"));
        assert!(fault("\u{feff}{}").contains("byte order mark"));
        assert!(fault("{\"a\": // c\n1}").contains("no comments"));
        assert!(fault("{\"a\" 1}").contains("expected \":\""));
        assert!(fault("{\"a\":1 \"b\":2}").contains("expected \",\" or \"}\""));
        assert!(fault("[1,]").contains("comma stands before \"]\""));
        assert!(fault("[1").contains("expected \",\" or \"]\""));
        assert!(fault("[\"a\nb\"]").contains("control character"));
        assert!(fault("[\"a").contains("ends within a string"));
        assert!(fault("[\"\\x\"]").contains("unknown escape"));
        assert!(fault("[\"\\u12g4\"]").contains("four hexadecimal"));
        assert!(fault("[\"\\ud800\"]").contains("surrogate"));
        assert!(fault("[\"\\udc00\"]").contains("surrogate"));
        assert!(fault("[\"\\ud800\\u0041\"]").contains("surrogate"));
        assert!(fault("[01]").contains("must not start with 0"));
        assert!(fault("[-]").contains("needs a digit"));
        assert!(fault("[1.]").contains("after the point"));
        assert!(fault("[1e]").contains("exponent"));
        assert!(fault("[+1]").contains("expected a value"));
        assert!(fault("{a:1}").contains("in double quotes"));
        assert!(fault("{").contains("ends within an object"));
    }

    #[test]
    fn every_duplicate_key_is_reported_and_the_first_value_kept() {
        let (node, duplicates) = read(r#"{"a":1,"a":{"b":1,"b":2},"c":{"d":0,"\u0064":1}}"#).unwrap();
        let paths: Vec<String> = duplicates.iter().map(|fault| fault.place.to_string()).collect();
        assert_eq!(paths, ["$.a.b", "$.a", "$.c.d"]);
        assert_eq!(node.to_compact(), r#"{"a":1,"c":{"d":0}}"#);
    }

    #[test]
    fn depth_is_bounded() {
        assert!(read(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
        assert!(fault(&format!("{}{}", "[".repeat(65), "]".repeat(65))).contains("more than 64 deep"));
        assert!(fault(&"[".repeat(100_000)).contains("more than 64 deep"));
        assert!(fault(&"{\"a\":".repeat(100_000)).contains("more than 64 deep"));
    }

    proptest! {
        #[test]
        fn it_accepts_what_serde_json_accepts_and_reads_the_same(
            text in r#"[\[\]{}",:0-9eE.+\-a-c\\untrlf ]{0,40}"#
        ) {
            let theirs: Result<serde_json::Value, _> = serde_json::from_str(&text);
            match (read(&text), theirs) {
                (Ok((node, duplicates)), Ok(theirs)) if duplicates.is_empty() => {
                    let ours: serde_json::Value = serde_json::from_str(&node.to_compact()).unwrap();
                    prop_assert_eq!(ours, theirs);
                }
                (Ok(_), Ok(_)) => {}
                (Err(_), Err(_)) => {}
                // A number that no f64 holds is JSON all the same.
                (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{}", error),
                (Err(fault), Ok(_)) => prop_assert!(false, "{}", fault.message),
            }
        }
    }
}

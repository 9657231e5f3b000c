//! Text with variables, escapes and wildcards: resources and values of conditions (`spec/policies.md` sections 3, 5).
use crate::glob::Pattern;
use crate::key::Key;
use crate::values::{Missing, Values};
use std::fmt;

/// Text as written, and its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    source: Box<str>,
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Text(Box<str>),
    /// `*`
    Any,
    /// `?`
    One,
    Variable(Key),
    /// A variable that can never have a value.
    Broken(Key, Missing),
}

/// A variable without a value. Displayed as half a sentence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unresolved {
    key: Key,
    missing: Missing,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "variable {} has no value because {}", self.key, self.missing)
    }
}

impl Template {
    /// A value of a condition. Without `expand` (version 2008-10-17) `${` is plain text.
    pub(crate) fn value(source: &str, expand: bool) -> Self {
        Self { source: source.into(), tokens: tokens(source, expand) }
    }

    /// An ARN: variables before its resource part have no value.
    pub(crate) fn resource(source: &str, expand: bool) -> Self {
        let mut template = Self::value(source, expand);
        let mut colons = 0;
        for token in &mut template.tokens {
            match token {
                Token::Text(text) => colons += text.matches(':').count(),
                // It may reach into the resource part.
                Token::Any => break,
                Token::Variable(key) if colons < 5 => {
                    *token = Token::Broken(key.clone(), Missing::OutsideResource);
                }
                Token::One | Token::Variable(_) | Token::Broken(..) => {}
            }
        }
        template
    }

    /// As written in the document.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.tokens.iter().filter_map(|token| if let Token::Variable(key) = token { Some(key) } else { None })
    }

    /// Whether its text depends on the connection.
    pub(crate) fn is_variable(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Variable(_) | Token::Broken(..)))
    }

    /// With variables filled in as literal text, and with wildcards.
    pub(crate) fn pattern(&self, values: &Values) -> Result<Pattern, Unresolved> {
        let mut pattern = Pattern::default();
        for token in &self.tokens {
            match token {
                Token::Text(text) => pattern.push_literal(text),
                Token::Any => pattern.push_any(),
                Token::One => pattern.push_one(),
                Token::Variable(key) => pattern.push_literal(substitute(key, values)?),
                Token::Broken(key, missing) => {
                    return Err(Unresolved { key: key.clone(), missing: *missing });
                }
            }
        }
        Ok(pattern)
    }

    /// With variables filled in, where `*` and `?` are plain characters.
    pub(crate) fn text(&self, values: &Values) -> Result<String, Unresolved> {
        let mut result = String::new();
        for token in &self.tokens {
            match token {
                Token::Text(text) => result.push_str(text),
                Token::Any => result.push('*'),
                Token::One => result.push('?'),
                Token::Variable(key) => result.push_str(substitute(key, values)?),
                Token::Broken(key, missing) => {
                    return Err(Unresolved { key: key.clone(), missing: *missing });
                }
            }
        }
        Ok(result)
    }
}

fn substitute<'v>(key: &Key, values: &'v Values) -> Result<&'v str, Unresolved> {
    values.substitute(key).map_err(|missing| Unresolved { key: key.clone(), missing })
}

fn tokens(source: &str, expand: bool) -> Box<[Token]> {
    let mut tokens = Vec::new();
    let mut literal = String::new();
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let token = match character {
            '*' => Token::Any,
            '?' => Token::One,
            '$' if expand && rest.starts_with("${") => {
                let after = rest.get(2..).unwrap_or_default();
                let Some((name, after)) = after.split_once('}') else {
                    flush(&mut literal, &mut tokens);
                    tokens.push(Token::Broken(Key::Unknown(rest.into()), Missing::Unclosed));
                    break;
                };
                rest = after;
                if let "*" | "?" | "$" = name {
                    literal.push_str(name);
                } else {
                    flush(&mut literal, &mut tokens);
                    tokens.push(Token::Variable(Key::parse(name)));
                }
                continue;
            }
            other => {
                literal.push(other);
                rest = rest.get(other.len_utf8()..).unwrap_or_default();
                continue;
            }
        };
        flush(&mut literal, &mut tokens);
        tokens.push(token);
        rest = rest.get(1..).unwrap_or_default();
    }
    flush(&mut literal, &mut tokens);
    tokens.into()
}

fn flush(literal: &mut String, tokens: &mut Vec<Token>) {
    if !literal.is_empty() {
        tokens.push(Token::Text(std::mem::take(literal).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;

    fn values(template: &Template) -> Values {
        let context = Context { client_id: Some("pump-1".into()), ..Context::default() };
        Values::resolve(template.keys(), &context, "arn:aws:iot:r:1:")
    }

    fn filled(source: &str, expand: bool) -> String {
        let template = Template::resource(source, expand);
        match template.pattern(&values(&template)) {
            Ok(pattern) => pattern.to_string(),
            Err(unresolved) => unresolved.to_string(),
        }
    }

    #[test]
    fn variables_and_escapes_are_replaced() {
        for (source, expected) in [
            ("a:b:c:d:e:f/${iot:ClientId}/*", "a:b:c:d:e:f/pump-1/*"),
            ("a:b:c:d:e:${IOT:CLIENTID}${iot:ClientId}", "a:b:c:d:e:pump-1pump-1"),
            ("*${iot:ClientId}", "*pump-1"),
            ("$aws/${*}${?}${$}{x}/$", "$aws/${*}${?}${$}{x}/$"),
        ] {
            assert_eq!(filled(source, true), expected);
        }
    }

    #[test]
    fn a_variable_that_cannot_have_a_value_makes_the_text_unusable() {
        for (source, expected) in [
            ("*${}", "variable  has no value because there is no such variable"),
            ("*${ iot:ClientId}", "variable  iot:ClientId has no value because there is no such variable"),
            ("a${iot:ClientId", "variable ${iot:ClientId has no value because its `}` is missing"),
            (
                "a:b:c:${iot:ClientId}:e:f",
                "variable iot:ClientId has no value because variables stand for something only in the resource \
                 part of an ARN, after the account",
            ),
        ] {
            assert_eq!(filled(source, true), expected);
        }
    }

    #[test]
    fn the_old_version_has_no_variables() {
        assert_eq!(filled("a:b:c:d:e:${iot:ClientId}/${*}", false), "a:b:c:d:e:${$}{iot:ClientId}/${$}{*}");
    }
}

//! The words and marks of a query.
use super::QueryError;
use std::ops::Bound;

/// One word or mark.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    /// `name:`, `name>`, `name<=`, with or without a colon before the comparison.
    Field(String, Comparison),
    Word(Vec<Piece>),
    /// `[a TO b]`, `{a TO b}`; `*` is no bound.
    Range(Bound<String>, Bound<String>),
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// A piece of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Char(char),
    /// `*`
    Any,
    /// `?`
    One,
}

/// All tokens of a query.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, QueryError> {
    let mut lexer = Lexer { rest: text };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    rest: &'a str,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, QueryError> {
        self.rest = self.rest.trim_start();
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let mark = match first {
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '-' => Some(Token::Not),
            _ => None,
        };
        if mark.is_some() {
            self.skip(first);
            return Ok(mark);
        }
        match first {
            '"' => self.phrase().map(Some),
            '[' | '{' => self.range(first).map(Some),
            _ => self.word().map(Some),
        }
    }

    fn skip(&mut self, character: char) {
        self.rest = self.rest.get(character.len_utf8()..).unwrap_or_default();
    }

    /// `"…"`: everything as it is.
    fn phrase(&mut self) -> Result<Token, QueryError> {
        self.skip('"');
        let mut pieces = Vec::new();
        loop {
            let Some(character) = self.rest.chars().next() else {
                return Err(QueryError("a phrase lacks its closing \"".into()));
            };
            self.skip(character);
            match character {
                '"' => return Ok(Token::Word(pieces)),
                '\\' => pieces.push(Piece::Char(self.escaped()?)),
                other => pieces.push(Piece::Char(other)),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, QueryError> {
        let Some(character) = self.rest.chars().next() else {
            return Err(QueryError(
                "it ends in a backslash: a backslash takes the next character as it is".into(),
            ));
        };
        self.skip(character);
        Ok(character)
    }

    fn range(&mut self, open: char) -> Result<Token, QueryError> {
        let wrong =
            || QueryError(format!("a range that starts with {open} is not like [1 TO 5] or {{1 TO 5}}"));
        let (inside, close) = self
            .rest
            .char_indices()
            .find(|(_, c)| matches!(c, ']' | '}'))
            .and_then(|(at, c)| Some((self.rest.get(1..at)?, c)))
            .ok_or_else(wrong)?;
        let mut words = inside.split_whitespace();
        let (Some(low), Some("TO"), Some(high), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong());
        };
        let bound = |text: &str, inclusive: bool| match (text, inclusive) {
            ("*", _) => Bound::Unbounded,
            (text, true) => Bound::Included(text.to_lowercase()),
            (text, false) => Bound::Excluded(text.to_lowercase()),
        };
        let token = Token::Range(bound(low, open == '['), bound(high, close == ']'));
        self.rest = self.rest.get(inside.len() + 2..).unwrap_or_default();
        Ok(token)
    }

    /// A word; the name of a field, if a comparison follows it; or an operator.
    fn word(&mut self) -> Result<Token, QueryError> {
        let (mut pieces, mut plain) = (Vec::new(), true);
        while let Some(character) = self.rest.chars().next() {
            if character.is_whitespace() || matches!(character, '(' | ')' | '"') {
                break;
            }
            if matches!(character, ':' | '>' | '<')
                && let Some(name) = name(&pieces)
            {
                return Ok(Token::Field(name, self.comparison()));
            }
            self.skip(character);
            pieces.push(match character {
                '\\' => {
                    plain = false;
                    Piece::Char(self.escaped()?)
                }
                '*' => Piece::Any,
                '?' => Piece::One,
                other => Piece::Char(other),
            });
        }
        Ok(match name(&pieces).as_deref().filter(|_| plain) {
            Some("AND" | "&&") => Token::And,
            Some("OR" | "||") => Token::Or,
            Some("NOT" | "!") => Token::Not,
            _ => Token::Word(pieces),
        })
    }

    fn comparison(&mut self) -> Comparison {
        const FORMS: [(&str, Comparison); 9] = [
            (":>=", Comparison::AtLeast),
            (":<=", Comparison::AtMost),
            (":>", Comparison::Above),
            (":<", Comparison::Below),
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::Above),
            ("<", Comparison::Below),
            (":", Comparison::Equal),
        ];
        for (form, comparison) in FORMS {
            if let Some(rest) = self.rest.strip_prefix(form) {
                self.rest = rest;
                return comparison;
            }
        }
        Comparison::Equal
    }
}

/// The text of a word without wildcards.
fn name(pieces: &[Piece]) -> Option<String> {
    let character = |piece: &Piece| if let Piece::Char(character) = piece { Some(*character) } else { None };
    pieces.iter().map(character).collect()
}

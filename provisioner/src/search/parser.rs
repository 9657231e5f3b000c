//! From tokens to a query.
use super::lexer::{Comparison, Piece, Token, tokens};
use super::term::{Field, Operand, Term, Test};
use super::{Node, Query, QueryError};
use std::iter::Peekable;
use std::ops::Bound;
use std::vec::IntoIter;

/// Most terms of a query.
const MOST_TERMS: usize = 64;
/// Most groups and negations within each other.
const MOST_LEVELS: usize = 16;

pub(super) fn parse(text: &str) -> Result<Node, QueryError> {
    let length = text.chars().count();
    if length > Query::LONGEST {
        return Err(QueryError(format!("it has {length} characters, and {} are allowed", Query::LONGEST)));
    }
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable(), terms: 0 };
    let node = parser.any(None, 0)?;
    match parser.tokens.next() {
        None => Ok(node),
        Some(_) => Err(QueryError("a ) has no ( before it".into())),
    }
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    terms: usize,
}

impl Parser {
    /// `a OR b`
    fn any(&mut self, field: Option<&Field>, level: usize) -> Result<Node, QueryError> {
        if level > MOST_LEVELS {
            return Err(QueryError(format!("its groups are more than {MOST_LEVELS} levels deep")));
        }
        let mut nodes = vec![self.all(field, level)?];
        while self.tokens.next_if_eq(&Token::Or).is_some() {
            nodes.push(self.all(field, level)?);
        }
        Ok(single(nodes, Node::Any))
    }

    /// `a AND b`, `a b`
    fn all(&mut self, field: Option<&Field>, level: usize) -> Result<Node, QueryError> {
        let mut nodes = vec![self.not(field, level)?];
        loop {
            let is_and = self.tokens.next_if_eq(&Token::And).is_some();
            match self.tokens.peek() {
                None | Some(Token::Or | Token::Close) if !is_and => return Ok(single(nodes, Node::All)),
                _ => nodes.push(self.not(field, level)?),
            }
        }
    }

    /// `NOT a`, `-a`
    fn not(&mut self, field: Option<&Field>, level: usize) -> Result<Node, QueryError> {
        let mut negated = false;
        while self.tokens.next_if_eq(&Token::Not).is_some() {
            negated = !negated;
        }
        let node = self.term(field, level)?;
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn term(&mut self, field: Option<&Field>, level: usize) -> Result<Node, QueryError> {
        match self.tokens.next() {
            Some(Token::Open) => {
                let node = self.any(field, level + 1)?;
                match self.tokens.next() {
                    Some(Token::Close) => Ok(node),
                    _ => Err(QueryError("a ( has no ) after it".into())),
                }
            }
            Some(Token::Field(name, comparison)) => {
                if field.is_some() {
                    return Err(QueryError(format!(
                        "{name} names a field within the group of another field"
                    )));
                }
                let field = Field::named(&name)?;
                if comparison == Comparison::Equal {
                    return match self.tokens.peek() {
                        Some(Token::Open) => self.term(Some(&field), level),
                        _ => self.value(Some(&field)),
                    };
                }
                match self.tokens.next() {
                    Some(Token::Word(pieces)) => self.comparison(field, comparison, &pieces),
                    // A number below zero.
                    Some(Token::Not) => match self.tokens.next() {
                        Some(Token::Word(pieces)) => self.comparison(
                            field,
                            comparison,
                            &[&[Piece::Char('-')], pieces.as_slice()].concat(),
                        ),
                        _ => Err(nothing_to_compare(&name)),
                    },
                    _ => Err(nothing_to_compare(&name)),
                }
            }
            Some(token) => self.valued(field, token),
            None => Err(QueryError("it ends where a term is expected".into())),
        }
    }

    fn value(&mut self, field: Option<&Field>) -> Result<Node, QueryError> {
        match self.tokens.next() {
            // A value that starts with a hyphen.
            Some(Token::Not) => match self.tokens.next() {
                Some(Token::Word(pieces)) => {
                    self.valued(field, Token::Word([&[Piece::Char('-')], pieces.as_slice()].concat()))
                }
                _ => Err(QueryError("a - has nothing after it".into())),
            },
            Some(token) => self.valued(field, token),
            None => Err(QueryError("a field has no value".into())),
        }
    }

    fn valued(&mut self, field: Option<&Field>, token: Token) -> Result<Node, QueryError> {
        let test = match token {
            Token::Word(pieces) => Test::like(&pieces),
            Token::Range(low, high) if field.is_some() => {
                Test::Within(low.map(|text| Operand::of(&text)), high.map(|text| Operand::of(&text)))
            }
            Token::Range(..) => {
                return Err(QueryError("a range needs a field before it: field:[1 TO 5]".into()));
            }
            _ => return Err(QueryError("an operator or ) stands where a term is expected".into())),
        };
        self.counted(Term { field: field.cloned(), test })
    }

    fn comparison(&mut self, field: Field, how: Comparison, pieces: &[Piece]) -> Result<Node, QueryError> {
        let characters = pieces.iter().map(|piece| match piece {
            Piece::Char(character) => Ok(*character),
            _ => Err(QueryError("a value to compare with has a wildcard".into())),
        });
        let operand = Operand::of(&characters.collect::<Result<String, _>>()?.to_lowercase());
        let test = match how {
            Comparison::Equal => Test::like(pieces),
            Comparison::Above => Test::Within(Bound::Excluded(operand), Bound::Unbounded),
            Comparison::AtLeast => Test::Within(Bound::Included(operand), Bound::Unbounded),
            Comparison::Below => Test::Within(Bound::Unbounded, Bound::Excluded(operand)),
            Comparison::AtMost => Test::Within(Bound::Unbounded, Bound::Included(operand)),
        };
        self.counted(Term { field: Some(field), test })
    }

    fn counted(&mut self, term: Term) -> Result<Node, QueryError> {
        self.terms += 1;
        if self.terms > MOST_TERMS {
            return Err(QueryError(format!("it has more than {MOST_TERMS} terms")));
        }
        Ok(Node::Term(term))
    }
}

fn nothing_to_compare(field: &str) -> QueryError {
    QueryError(format!("{field} is compared with nothing"))
}

/// One node as it is, several as one.
fn single(mut nodes: Vec<Node>, several: fn(Vec<Node>) -> Node) -> Node {
    match (nodes.pop(), nodes.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            nodes.extend(last);
            several(nodes)
        }
    }
}

//! Patterns with `*` (any text, also none, also with `/`) and `?` (exactly one character).
//!
//! A pattern is UTF-8 text in which two bytes that UTF-8 never uses stand for the wildcards. So text that was
//! substituted into a pattern cannot become a wildcard, and matching works on bytes.
//!
//! Cost of a match: linear in text and pattern as long as no `?` stands between two literal pieces after a `*`;
//! with such a `?`, at most text times pattern. There is no recursion, and nothing is allocated.
use crate::Scope;
use memchr::{memchr, memmem, memrchr};
use smallvec::{SmallVec, smallvec};
use std::fmt::{self, Write as _};

/// Places in a pattern: mostly there is one.
pub(crate) type Offsets = SmallVec<[usize; 4]>;

/// Stands for `*`.
const ANY: u8 = 0xFF;
/// Stands for `?`.
const ONE: u8 = 0xFE;
/// What stands before the region of a resource.
const SERVICE: &[u8] = b"arn:aws:iot:";

/// A pattern that owns its text. Displayed as it is written in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    /// Every `*` and `?` is a wildcard.
    pub(crate) fn with_wildcards(text: &str) -> Self {
        let mut pattern = Self::default();
        for part in text.split_inclusive(['*', '?']) {
            match part.strip_suffix(['*', '?']) {
                Some(literal) => {
                    pattern.push_literal(literal);
                    if part.ends_with('*') { pattern.push_any() } else { pattern.push_one() }
                }
                None => pattern.push_literal(part),
            }
        }
        pattern
    }

    pub(crate) fn push_literal(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// `**` is the same as `*`, and kept as such.
    pub(crate) fn push_any(&mut self) {
        if self.0.last() != Some(&ANY) {
            self.0.push(ANY);
        }
    }

    pub(crate) fn push_one(&mut self) {
        self.0.push(ONE);
    }

    /// The pattern of an ARN, made to match the resources of [`Scope::ANY_REGION`](crate::Scope::ANY_REGION) where it
    /// matches those of some region.
    pub(crate) fn of_any_region(self) -> Self {
        let Some(rest) = self.0.strip_prefix(SERVICE) else { return self };
        // `*` may reach beyond the region, so it stays, and what it stands beside in the region goes.
        let end = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
        let Some((region, rest)) = rest.split_at_checked(end).filter(|(region, _)| !region.is_empty()) else {
            return self;
        };
        let any = if region.contains(&ANY) { &[ANY][..] } else { Scope::ANY_REGION.as_bytes() };
        Self([SERVICE, any, rest].concat())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        matches(&self.0, text.as_bytes())
    }

    /// Where the pattern can stand after it has matched `prefix`: the pattern matches `prefix` + `rest` exactly if
    /// the pattern from one of these offsets on matches `rest`.
    ///
    /// At most one offset more than `prefix` has characters, because what stands before the last `*` that was
    /// reached can be matched by that `*` as well.
    pub(crate) fn offsets_after(&self, prefix: &str) -> Offsets {
        let literal = literal_prefix(&self.0);
        if literal.len() >= prefix.len() {
            let follows = literal.starts_with(prefix.as_bytes());
            return follows.then_some(prefix.len()).into_iter().collect();
        }
        let Some(rest) = std::str::from_utf8(literal).ok().and_then(|literal| prefix.strip_prefix(literal))
        else {
            return Offsets::new();
        };
        let mut offsets = smallvec![literal.len()];
        for character in rest.chars() {
            let mut next = Offsets::with_capacity(offsets.len() + 1);
            for offset in offsets {
                self.step(offset, character, &mut next);
            }
            offsets = next;
            self.keep_from_last_any(&mut offsets);
        }
        offsets
    }

    /// Adds where the pattern can stand after `character`, when it stands at `offset` now.
    fn step(&self, mut offset: usize, character: char, next: &mut Offsets) {
        let mut buffer = [0; 4];
        let literal = character.encode_utf8(&mut buffer).as_bytes();
        while self.0.get(offset) == Some(&ANY) {
            next.push(offset);
            offset += 1;
        }
        let rest = self.0.get(offset..).unwrap_or_default();
        if rest.first() == Some(&ONE) {
            next.push(offset + 1);
        } else if rest.starts_with(literal) {
            next.push(offset + literal.len());
        }
    }

    fn keep_from_last_any(&self, offsets: &mut Offsets) {
        offsets.sort_unstable();
        offsets.dedup();
        if let Some(last) = offsets.iter().rposition(|offset| self.0.get(*offset) == Some(&ANY)) {
            offsets.drain(..last);
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunk_by(|a, b| *a < ONE && *b < ONE) {
            match chunk {
                [ANY] => f.write_char('*')?,
                [ONE] => f.write_char('?')?,
                literal => write_literal(f, &String::from_utf8_lossy(literal))?,
            }
        }
        Ok(())
    }
}

/// Writes text so that a policy with variables reads it as literal.
fn write_literal(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' => f.write_str("${*}")?,
            '?' => f.write_str("${?}")?,
            '$' if characters.peek() == Some(&'{') => f.write_str("${$}")?,
            other => f.write_char(other)?,
        }
    }
    Ok(())
}

/// What stands before the first wildcard.
pub(crate) fn literal_prefix(pattern: &[u8]) -> &[u8] {
    memchr::memchr2(ANY, ONE, pattern).and_then(|end| pattern.get(..end)).unwrap_or(pattern)
}

/// Whether an encoded pattern, or the rest of one, matches all of a UTF-8 text.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let Some((head, rest)) = split_at(pattern, memchr(ANY, pattern)) else {
        return strip_front(pattern, text).is_some_and(<[u8]>::is_empty);
    };
    let Some(text) = strip_front(head, text) else { return false };
    let Some((middle, tail)) = split_at(rest, memrchr(ANY, rest)) else {
        return strip_back(rest, text).is_some();
    };
    let Some(mut text) = strip_back(tail, text) else { return false };
    // The leftmost place of each piece leaves the most text for those after it.
    for piece in middle.split(|byte| *byte == ANY) {
        match skip_past(piece, text) {
            Some(rest) => text = rest,
            None => return false,
        }
    }
    true
}

/// What stands before and after a byte.
fn split_at(bytes: &[u8], at: Option<usize>) -> Option<(&[u8], &[u8])> {
    let (before, from) = bytes.split_at_checked(at?)?;
    Some((before, from.get(1..)?))
}

/// The text after a piece without `*` at its start. Literal runs are compared as a whole, which is many bytes at a time.
fn strip_front<'t>(mut piece: &[u8], mut text: &'t [u8]) -> Option<&'t [u8]> {
    while let Some((literal, rest)) = split_at(piece, memchr(ONE, piece)) {
        text = skip_character(text.strip_prefix(literal)?)?;
        piece = rest;
    }
    text.strip_prefix(piece)
}

/// The text before a piece without `*` at its end.
fn strip_back<'t>(piece: &[u8], mut text: &'t [u8]) -> Option<&'t [u8]> {
    for byte in piece.iter().rev() {
        text = match byte {
            &ONE => {
                let start = text.iter().rposition(|byte| !is_continuation(*byte))?;
                text.get(..start)?
            }
            byte => text.strip_suffix(std::slice::from_ref(byte))?,
        };
    }
    Some(text)
}

/// The text after the leftmost place of a piece without `*`.
fn skip_past<'t>(mut piece: &[u8], mut text: &'t [u8]) -> Option<&'t [u8]> {
    // A `?` at an edge of the piece does not decide where the piece is found.
    while let Some(rest) = piece.strip_prefix(&[ONE]) {
        piece = rest;
        text = skip_character(text)?;
    }
    let mut after = 0;
    while let Some(rest) = piece.strip_suffix(&[ONE]) {
        piece = rest;
        after += 1;
    }
    text = skip_past_core(piece, text)?;
    for _ in 0..after {
        text = skip_character(text)?;
    }
    Some(text)
}

/// The text after the leftmost place of a piece that neither starts nor ends with `?`.
fn skip_past_core<'t>(piece: &[u8], mut text: &'t [u8]) -> Option<&'t [u8]> {
    if memchr(ONE, piece).is_none() {
        return text.get(memmem::find(text, piece)? + piece.len()..);
    }
    let first = *piece.first()?;
    loop {
        text = text.get(memchr(first, text)?..)?;
        match strip_front(piece, text) {
            Some(rest) => return Some(rest),
            None => text = text.get(1..)?,
        }
    }
}

fn skip_character(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = text.split_first()?;
    rest.get(rest.iter().take_while(|byte| is_continuation(**byte)).count()..)
}

const fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, text: &str) -> bool {
        Pattern::with_wildcards(pattern).matches(text)
    }

    #[test]
    fn a_star_matches_any_text_and_a_question_mark_one_character() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("a*ca", "ca", false),
            ("a*a", "a", false),
            ("?", "", false),
            ("?", "ü", true),
            ("?", "🦀", true),
            ("??", "🦀", false),
            ("*?", "🦀", true),
            ("*??", "ü", false),
            ("?*?", "üü", true),
            ("a*b?d*e", "a-bd-e", false),
            ("a*b?d*e", "a-bxd-e", true),
            ("a*b?d*e", "a-bxx-bxd-e", true),
            ("*??c", "üüc", true),
            ("*a?*", "xa", false),
            ("*a?*", "xaü", true),
        ] {
            assert_eq!(check(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_pattern_is_displayed_as_a_policy_would_write_it() {
        let mut pattern = Pattern::with_wildcards("a/*/?");
        pattern.push_literal("*?${x}$");
        assert_eq!(pattern.to_string(), "a/*/?${*}${?}${$}{x}$");
    }

    #[test]
    fn a_prefix_can_end_in_several_places_of_a_pattern() {
        let rests = |pattern: &str, prefix: &str| {
            let pattern = Pattern::with_wildcards(pattern);
            let offsets = pattern.offsets_after(prefix);
            offsets.into_iter().map(|at| Pattern(pattern.0[at..].to_vec()).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(rests("a:b:c", "a:b:"), ["c"]);
        assert_eq!(rests("a:x:c", "a:b:"), [""; 0]);
        assert_eq!(rests("a:", "a:b:"), [""; 0]);
        assert_eq!(rests("*", "a:b:"), ["*"]);
        assert_eq!(rests("a:*", "a:b:"), ["*"]);
        assert_eq!(rests("a:?:c", "a:b:"), ["c"]);
        assert_eq!(rests("a:*:c", "a:b:"), ["*:c", "c"]);
        assert_eq!(rests("*:*:c", "a:b:"), ["*:c", "c"]);
    }

    /// The meaning, without any cleverness.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                naive(rest, text) || matches!(text, [_, shorter @ ..] if naive(pattern, shorter))
            }
            (['?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            ([a, rest @ ..], [b, text @ ..]) => a == b && naive(rest, text),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn the_matcher_agrees_with_a_naive_one(pattern in "[abü🦀*?]{0,8}", text in "[abü🦀]{0,8}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(check(&pattern, &text), naive(&characters(&pattern), &characters(&text)));
        }

        #[test]
        fn a_pattern_after_a_prefix_agrees_with_the_whole_pattern(
            pattern in "[abü*?]{0,8}", prefix in "[abü]{0,4}", rest in "[abü]{0,5}",
        ) {
            let pattern = Pattern::with_wildcards(&pattern);
            let offsets = pattern.offsets_after(&prefix);
            prop_assert!(offsets.len() <= prefix.chars().count() + 1);
            let after = offsets.iter().any(|at| matches(&pattern.0[*at..], rest.as_bytes()));
            prop_assert_eq!(after, pattern.matches(&format!("{prefix}{rest}")));
        }
    }
}

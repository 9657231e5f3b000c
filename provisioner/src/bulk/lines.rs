//! The lines of an input file, one at a time and none longer than allowed, with where each of them stands.
use std::io::{self, BufRead};

/// The longest line, in bytes without its end (`spec/quotas.md` section 3).
pub(crate) const LONGEST: usize = 256_000;

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The first line of a file is 1; blank ones count.
    pub(crate) number: u64,
    /// Bytes before it in the file.
    pub(crate) offset: u64,
    /// Bytes before what follows it.
    pub(crate) end: u64,
    /// Without its end. `None`: it is too long.
    pub(crate) text: Option<Vec<u8>>,
}

/// Reads lines. Holds no more than one.
pub(crate) struct Lines<R> {
    reader: R,
    offset: u64,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Goes on in a file where so many bytes and lines are behind the reader.
    pub(crate) fn after(reader: R, offset: u64, number: u64) -> Self {
        Self { reader, offset, number }
    }

    /// The next line that is not blank; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let (offset, mut text, mut too_long) = (self.offset, Vec::new(), false);
            loop {
                let buffer = match self.reader.fill_buf() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    buffer => buffer?,
                };
                let end = buffer.iter().position(|byte| *byte == b'\n');
                let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
                // One more than fits: it may be the carriage return of the line's end.
                too_long |= text.len() + part.len() > LONGEST + 1;
                if !too_long {
                    text.extend_from_slice(part);
                }
                let used = part.len() + usize::from(end.is_some());
                self.reader.consume(used);
                self.offset += used as u64;
                if end.is_some() || used == 0 {
                    break;
                }
            }
            if self.offset == offset {
                return Ok(None);
            }
            self.number += 1;
            if text.last() == Some(&b'\r') {
                text.pop();
            }
            too_long |= text.len() > LONGEST;
            if self.number == 1 && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            if too_long || !text.trim_ascii().is_empty() {
                let text = (!too_long).then_some(text);
                return Ok(Some(Line { number: self.number, offset, end: self.offset, text }));
            }
        }
    }

    /// Bytes that are behind the reader.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

/// What some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn all(bytes: &[u8], buffer: usize) -> Vec<Line> {
        let mut lines = Lines::after(BufReader::with_capacity(buffer, bytes), 0, 0);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line);
        }
        assert_eq!(lines.offset(), bytes.len() as u64);
        found
    }

    #[test]
    fn lines_come_with_their_numbers_and_places_and_blank_ones_are_passed_over() {
        for buffer in [1, 2, 3, 100] {
            let found = all(b"\xef\xbb\xbf{1}\r\n\n \t\r\n{2}\n\r\n{3}", buffer);
            let shown: Vec<_> = found
                .iter()
                .map(|l| (l.number, l.offset, l.end, String::from_utf8(l.text.clone().unwrap()).unwrap()))
                .collect();
            assert_eq!(
                shown,
                [(1, 0, 8, "{1}".into()), (4, 13, 17, "{2}".into()), (6, 19, 22, "{3}".into())]
            );
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_is_read() {
        let fits = "a".repeat(LONGEST);
        for (text, expected) in [
            (fits.clone(), true),
            (format!("{fits}\r"), true),
            (format!("{fits}b"), false),
            (fits.repeat(5), false),
        ] {
            let found = all(format!("{text}\n{{}}\n").as_bytes(), 8192);
            let read: Vec<bool> = found.iter().map(|line| line.text.is_some()).collect();
            assert_eq!(read, [expected, true], "{}", text.len());
            assert_eq!(found[1].offset, text.len() as u64 + 1);
        }
    }

    proptest! {
        #[test]
        fn reading_on_after_any_line_gives_the_lines_that_are_left(
            parts in proptest::collection::vec("[ab\\r ]{0,5}", 0..12), buffer in 1_usize..9,
        ) {
            let bytes = parts.join("\n").into_bytes();
            let whole = all(&bytes, 64);
            for (at, line) in whole.iter().enumerate() {
                let rest = BufReader::with_capacity(buffer, &bytes[line.end as usize..]);
                let mut lines = Lines::after(rest, line.end, line.number);
                for expected in &whole[at + 1..] {
                    let next = lines.next().unwrap();
                    prop_assert_eq!(next.as_ref(), Some(expected));
                }
                prop_assert_eq!(lines.next().unwrap(), None);
            }
        }
    }
}

//! Reading the fields of a packet in order (OASIS MQTT 5.0 section 1.5).
use super::Violation;

/// The fields that were not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(too_short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Violation> {
        let (first, rest) = self.rest.split_first().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn short(&mut self) -> Result<u16, Violation> {
        let (bytes, rest) = self.rest.split_first_chunk::<2>().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// A packet identifier: never 0.
    pub(super) fn packet_id(&mut self) -> Result<u16, Violation> {
        match self.short()? {
            0 => Err(Violation::protocol("the packet identifier 0")),
            id => Ok(id),
        }
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    /// UTF-8 without U+0000.
    pub(super) fn text(&mut self) -> Result<&'a str, Violation> {
        let text = std::str::from_utf8(self.binary()?)
            .map_err(|_| Violation::malformed("a string that is not UTF-8"))?;
        if text.as_bytes().contains(&0) {
            return Err(Violation::malformed("a string that contains U+0000"));
        }
        Ok(text)
    }

    /// A variable byte integer, in as few bytes as it needs.
    pub(super) fn variable(&mut self) -> Result<u32, Violation> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte == 0 && shift > 0 {
                return Err(Violation::malformed("a variable byte integer that is longer than need be"));
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Violation::malformed("a variable byte integer of more than four bytes"))
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), Violation> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Violation::malformed("bytes after the end of a packet"))
        }
    }
}

fn too_short() -> Violation {
    Violation::malformed("a packet that ends before its fields do")
}

//! The fields that packets are made of.
use anyhow::{Context, ensure};

/// A string or binary data with its length in front.
pub fn binary(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A string with its length in front.
pub fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

/// A variable byte integer.
pub fn variable(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let digit = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(digit);
            return out;
        }
        out.push(digit | 0x80);
    }
}

/// What of a packet was not read yet.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    pub(super) fn take(&mut self, length: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).context("a packet that is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?.iter().copied().sum())
    }

    pub(super) fn short(&mut self) -> anyhow::Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub(super) fn int(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub(super) fn binary(&mut self) -> anyhow::Result<Vec<u8>> {
        let length = self.short()?;
        Ok(self.take(usize::from(length))?.to_vec())
    }

    pub(super) fn text(&mut self) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.binary()?)?)
    }

    pub(super) fn variable(&mut self) -> anyhow::Result<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                ensure!(byte > 0 || shift == 0, "an integer that is longer than need be");
                return Ok(value);
            }
        }
        anyhow::bail!("an integer of more than four bytes")
    }

    pub(super) fn end(&self) -> anyhow::Result<()> {
        ensure!(self.0.is_empty(), "{:?} behind the end of a packet", self.0);
        Ok(())
    }
}

//! Fields of a stored row, one after another. Numbers are big endian; texts have their length in 2 bytes before them.
use std::sync::Arc;

/// A row that cannot be read: of another program, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was not written by this version of jitp, or is damaged")]
pub struct Unreadable;

/// What every row starts with. A newer format has another number, and is not read.
const VERSION: u8 = 1;

/// Fields to be written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + 1);
        bytes.push(VERSION);
        Self(bytes)
    }
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
    pub(super) fn short(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }
    pub(super) fn int(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }
    pub(super) fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }
    /// At most 65,535 bytes: whatever gets here was read with such a length from an MQTT packet.
    pub(super) fn binary(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.short(length);
        self.0.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
    }
    /// The last field: it has no length.
    pub(super) fn rest(mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(bytes);
        self.0
    }
}

/// Fields to be read.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(row: &'a [u8]) -> Result<Self, Unreadable> {
        match row.split_first() {
            Some((&VERSION, rest)) => Ok(Self(rest)),
            _ => Err(Unreadable),
        }
    }
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*taken)
    }
    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        self.take::<1>().map(|[byte]| byte)
    }
    pub(super) fn short(&mut self) -> Result<u16, Unreadable> {
        self.take().map(u16::from_be_bytes)
    }
    pub(super) fn int(&mut self) -> Result<u32, Unreadable> {
        self.take().map(u32::from_be_bytes)
    }
    pub(super) fn long(&mut self) -> Result<u64, Unreadable> {
        self.take().map(u64::from_be_bytes)
    }
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = usize::from(self.short()?);
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }
    pub(super) fn text(&mut self) -> Result<&'a str, Unreadable> {
        std::str::from_utf8(self.binary()?).map_err(|_| Unreadable)
    }
    pub(super) fn shared_text(&mut self) -> Result<Arc<str>, Unreadable> {
        self.text().map(Arc::from)
    }
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Unreadable> {
        if self.0.is_empty() { Ok(()) } else { Err(Unreadable) }
    }
}

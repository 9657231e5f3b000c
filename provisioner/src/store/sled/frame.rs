//! How a log's entries lie in its files: length, number, checksum, bytes. What is torn or stale ends a run of entries.
use std::io;

/// Bytes before each entry: length (4), number (8), CRC-32 over both and the bytes (4); big endian.
const HEADER: usize = 16;

/// Appends an entry. Its number comes back when it is read.
pub(super) fn append(buffer: &mut Vec<u8>, number: u64, bytes: &[u8]) -> io::Result<()> {
    buffer.reserve(HEADER + bytes.len());
    append_with(buffer, number, |buffer| buffer.extend_from_slice(bytes))
}

/// The same of what `write` appends.
pub(super) fn append_with(
    buffer: &mut Vec<u8>,
    number: u64,
    write: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    write(buffer);
    if let Some((header, bytes)) =
        buffer.get_mut(start..).and_then(|entry| entry.split_first_chunk_mut::<HEADER>())
    {
        let length = u32::try_from(bytes.len()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "more than 4 GiB are to be written in one piece")
        })?;
        let fields = [
            &length.to_be_bytes()[..],
            &number.to_be_bytes(),
            &checksum(length, number, bytes).to_be_bytes(),
        ];
        for (place, byte) in header.iter_mut().zip(fields.into_iter().flatten()) {
            *place = *byte;
        }
    }
    Ok(())
}

/// The entries at the start of `bytes`, up to the first that is not whole.
pub(super) fn entries(bytes: &[u8]) -> Entries<'_> {
    Entries { rest: bytes, whole: 0 }
}

/// See [`entries`].
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl Entries<'_> {
    /// Bytes of the entries so far.
    pub(super) fn whole(&self) -> usize {
        self.whole
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (expected, rest) = rest.split_first_chunk::<4>()?;
        let (length, number) = (u32::from_be_bytes(*length), u64::from_be_bytes(*number));
        let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if checksum(length, number, bytes) != u32::from_be_bytes(*expected) {
            return None;
        }
        self.rest = rest;
        self.whole += HEADER + bytes.len();
        Some((number, bytes))
    }
}

fn checksum(length: u32, number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_be_bytes());
    hasher.update(&number.to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_appended_is_read_up_to_the_first_damage(
            written in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
            damage in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut file = Vec::new();
            let mut ends = Vec::new();
            for (number, bytes) in (7..).zip(&written) {
                append(&mut file, number, bytes).unwrap();
                ends.push(file.len());
            }
            let all: Vec<_> = entries(&file).collect();
            let expected: Vec<_> = (7..).zip(written.iter().map(Vec::as_slice)).collect();
            prop_assert_eq!(all, expected.clone());

            let at = damage.index(file.len());
            let before = ends.iter().filter(|end| **end <= at).count();
            file[at] ^= 1 << bit;
            let mut found = entries(&file);
            let whole: Vec<_> = found.by_ref().collect();
            prop_assert_eq!(&whole, &expected[..before]);
            prop_assert_eq!(found.whole(), if before == 0 { 0 } else { ends[before - 1] });
        }

        #[test]
        fn arbitrary_bytes_are_no_entries_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(entries(&bytes).count(), 0);
        }
    }

    #[test]
    fn space_that_was_never_written_ends_the_entries() {
        assert_eq!(entries(&[0; 4096]).count(), 0);
    }
}

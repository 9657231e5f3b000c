//! A Bloom filter that grows: tells for sure that a key is not there, from a cache line or a few.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Keys that the first layer is made for. Every further one is made for twice as many.
const FIRST: usize = 64 * 1024;
/// With 64 Mi keys (128 MiB) it ends: from then on any key may be there.
const MOST_LAYERS: usize = 10;
/// 16 bits a key: about one key in a thousand seems to be there and is not.
const KEYS_OF_A_BLOCK: usize = 32;
/// Odd numbers: each spreads a fingerprint's lower half over the bits of one word.
const SPREADS: [u32; 8] =
    [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1, 0xd6e8_feb9, 0xa5a3_564b, 0x6c8e_9cf5];

/// A key as the filter knows it: the first 8 bytes of a good hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(pub u64);

/// The filter. Adding takes one thread at a time; asking takes no lock.
#[derive(Default)]
pub(super) struct KeyFilter {
    layers: [OnceLock<Layer>; MOST_LAYERS],
    /// Keys that were added.
    keys: AtomicUsize,
    overflown: AtomicBool,
}

impl KeyFilter {
    /// `false`: it was never added.
    pub(super) fn may_have(&self, key: Fingerprint) -> bool {
        self.overflown.load(Ordering::Acquire)
            || self.layers.iter().map_while(OnceLock::get).any(|layer| layer.may_have(key))
    }
    /// From now on it may be there. `false`: it might have been before.
    pub(super) fn add(&self, key: Fingerprint) -> bool {
        if self.may_have(key) {
            return false;
        }
        let number = self.keys.fetch_add(1, Ordering::Relaxed);
        // Layers hold FIRST, 2 FIRST, 4 FIRST …: the one of key n is given by the highest bit of n / FIRST + 1.
        let layer = (number / FIRST + 1).ilog2();
        match self.layers.get(layer as usize) {
            Some(place) => place.get_or_init(|| Layer::of(FIRST << layer)).add(key),
            None => self.overflown.store(true, Ordering::Release),
        }
        true
    }
}

/// One size of it. A key has one bit in each word of one block.
struct Layer {
    blocks: Box<[Block]>,
}

/// A cache line.
#[derive(Default)]
#[repr(align(64))]
struct Block([AtomicU64; SPREADS.len()]);

impl Layer {
    fn of(keys: usize) -> Self {
        Self { blocks: (0..keys.div_ceil(KEYS_OF_A_BLOCK)).map(|_| Block::default()).collect() }
    }
    fn may_have(&self, key: Fingerprint) -> bool {
        self.bits(key).all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }
    fn add(&self, key: Fingerprint) {
        for (word, bit) in self.bits(key) {
            word.fetch_or(bit, Ordering::Release);
        }
    }
    /// The upper half of the fingerprint chooses the block, the lower half the bits.
    fn bits(&self, key: Fingerprint) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let (upper, lower) = (key.0 >> 32, key.0 as u32);
        let block = (upper * self.blocks.len() as u64) >> 32;
        let words = usize::try_from(block).ok().and_then(|block| self.blocks.get(block));
        words.into_iter().flat_map(move |block| {
            block
                .0
                .iter()
                .zip(SPREADS)
                .map(move |(word, spread)| (word, 1 << (lower.wrapping_mul(spread) >> 26)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some good hash of a number.
    fn fingerprint(n: u64) -> Fingerprint {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &n.to_be_bytes());
        Fingerprint(u64::from_be_bytes(*digest.as_ref().first_chunk().unwrap()))
    }

    #[test]
    fn what_was_added_is_found_and_hardly_anything_else_however_much_it_grows() {
        let filter = KeyFilter::default();
        assert!(!filter.may_have(fingerprint(0)));
        let mut added = 0;
        for (layers, keys) in [(1, FIRST as u64), (2, 3 * FIRST as u64), (3, 4 * FIRST as u64)] {
            let before = added;
            let new = (before..keys).filter(|n| filter.add(fingerprint(*n))).count();
            added = keys;
            assert!(new as u64 > (keys - before) * 99 / 100, "{new} of {}", keys - before);
            assert_eq!(filter.layers.iter().filter(|layer| layer.get().is_some()).count(), layers);
            assert!((0..keys).all(|n| filter.may_have(fingerprint(n))));
            let mistaken = (keys..2 * keys).filter(|n| filter.may_have(fingerprint(*n))).count();
            assert!((mistaken as u64) < keys / 200, "{mistaken} of {keys}");
        }
        assert!(!filter.add(fingerprint(7)), "it is there already");
    }

    #[test]
    fn beyond_its_bound_anything_may_be_there() {
        let filter = KeyFilter::default();
        filter.keys.store(FIRST * ((1 << MOST_LAYERS) - 1), Ordering::Relaxed);
        assert!(filter.add(fingerprint(1)));
        assert!(filter.may_have(fingerprint(2)));
        assert!(filter.layers.iter().all(|layer| layer.get().is_none()));
    }
}

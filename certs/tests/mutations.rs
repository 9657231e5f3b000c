//! A bounded run of the fuzz targets over damaged real certificates. Seeded: a failure comes again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]

#[path = "../fuzz/exercise.rs"]
mod exercise;

use jitp_certs::Certificate;

const ROUNDS_PER_CERTIFICATE: usize = 100;

#[test]
fn damaged_der_never_panics() {
    let mut random = Random(0x6a69_7470);
    for der in certificates() {
        exercise::certificate_der(&der);
        for _ in 0..ROUNDS_PER_CERTIFICATE {
            exercise::certificate_der(&damaged(&der, &mut random));
        }
    }
}

#[test]
fn damaged_pem_never_panics() {
    let mut random = Random(0x7065_6d21);
    for der in certificates() {
        let text = Certificate::from_der(&der).unwrap().to_pem();
        exercise::certificate_pem(text.as_bytes());
        for _ in 0..ROUNDS_PER_CERTIFICATE {
            let text = match random.below(2) {
                0 => damaged(text.as_bytes(), &mut random),
                _ => with_other_letters(text.as_bytes(), &mut random),
            };
            exercise::certificate_pem(&text);
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for der in certificates().into_iter().step_by(10) {
        for length in 0..der.len() {
            assert!(Certificate::from_der(&der[..length]).is_err());
        }
    }
}

fn certificates() -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(format!("{folder}/fingerprints.txt")).unwrap();
    list.lines()
        .map(|line| std::fs::read_to_string(format!("{folder}/{}", line.split_once(' ').unwrap().1)).unwrap())
        .map(|pem| Certificate::from_pem(&pem).unwrap().der().to_vec())
        .collect()
}

/// One to four bytes changed, removed, inserted, or the end cut off.
fn damaged(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(4) {
        let index = random.below(bytes.len().max(1));
        match random.below(16) {
            _ if bytes.is_empty() => {}
            0 => bytes.truncate(index),
            1 | 2 => drop(bytes.remove(index)),
            3 | 4 => bytes.insert(index, random.byte()),
            5..=8 => bytes[index] = random.byte(),
            // Lengths and tags: the neighbouring values are the interesting ones.
            9 | 10 => bytes[index] = bytes[index].wrapping_add(1),
            11 | 12 => bytes[index] = bytes[index].wrapping_sub(1),
            13 => bytes[index] = 0xff,
            14 => bytes[index] = 0x80,
            _ => bytes[index] ^= 1 << random.below(8),
        }
    }
    bytes
}

/// Letters stay letters, so that the base64 stays readable and the damage reaches the DER.
fn with_other_letters(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(4) {
        let index = random.below(bytes.len());
        if bytes[index].is_ascii_alphabetic() {
            bytes[index] = b'A' + u8::try_from(random.below(26)).unwrap();
        }
    }
    bytes
}

/// SplitMix64: the same sequence everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

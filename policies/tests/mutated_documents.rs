//! Documents of the cases with random damage: the bounded form of the fuzz target.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "the cases are files of this crate")]

mod exercise;

use std::path::Path;

#[test]
fn damaged_documents_are_parsed_or_refused() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for seed in seeds() {
        exercise::document(&seed);
        for _ in 0..12 {
            exercise::document(&damaged(&seed, &mut random));
        }
    }
}

/// Every document of every case.
fn seeds() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        for case in cases {
            let policies = case["policies"].as_object().into_iter().flat_map(|policies| policies.values());
            seeds.extend(policies.chain(case.get("document")).map(ToString::to_string));
            seeds.extend(case["text"].as_str().map(str::to_owned));
        }
    }
    assert!(seeds.len() > 200);
    seeds.sort();
    seeds
}

fn damaged(seed: &str, random: &mut Random) -> String {
    const PIECES: [&str; 16] = [
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        "*",
        "?",
        "${",
        "${iot:ClientId}",
        "\\u0000",
        "ü",
        "1e9",
        "null",
        "/",
        ":",
    ];
    let mut characters: Vec<char> = seed.chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(characters.len() + 1);
        let end = (at + random.below(6)).min(characters.len());
        match random.below(3) {
            0 => drop(characters.drain(at..end)),
            1 => drop(characters.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            _ => {
                let copy = characters[at..end].to_vec();
                let to = random.below(characters.len() + 1);
                characters.splice(to..to, copy);
            }
        }
    }
    characters.into_iter().collect()
}

/// xorshift64: the same damage in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

//! The property of `exercise` over mutated templates of `tests/cases/`: a bounded, repeatable piece of
//! fuzzing.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "here a panic is a failed test")]
mod exercise;

#[derive(serde::Deserialize)]
struct Case {
    template: Box<serde_json::value::RawValue>,
}

#[test]
fn a_mutated_template_is_refused_with_reasons_or_evaluates() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let seeds = seeds();
    assert!(seeds.len() >= 60);
    for seed in &seeds {
        for caller in 0..4 {
            exercise::exercise(&[&[caller, dice.roll(256) as u8], seed.as_slice()].concat());
        }
        for _ in 0..60 {
            let mut input = vec![dice.roll(256) as u8, dice.roll(256) as u8];
            input.extend(mutate(seed, &seeds, &mut dice));
            exercise::exercise(&input);
        }
    }
}

/// The templates of all cases.
fn seeds() -> Vec<Vec<u8>> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut seeds = Vec::new();
    for file in files {
        let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        for case in cases {
            let raw = case.template.get();
            seeds.push(serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned()).into_bytes());
        }
    }
    seeds
}

/// Up to four edits: flip a byte, put in a token, cut a piece out, copy a piece of another template in.
fn mutate(seed: &[u8], seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    const TOKENS: [&str; 12] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        "null",
        "5",
        "\\ud800",
        "${",
        "{\"Ref\":\"A\"}",
        "{\"Fn::Sub\":\"${A}\"}",
    ];
    let mut body = seed.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(body.len() + 1);
        let end = (at + dice.roll(20)).min(body.len());
        match dice.roll(4) {
            0 if at < body.len() => body[at] ^= 1 << dice.roll(7),
            1 => drop(body.splice(at..at, TOKENS[dice.roll(TOKENS.len())].bytes())),
            2 => drop(body.drain(at..end)),
            _ => {
                let other = &seeds[dice.roll(seeds.len())];
                let from = dice.roll(other.len() + 1);
                let to = (from + dice.roll(60)).min(other.len());
                drop(body.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    body
}

/// Xorshift: repeatable, so that a failure can be looked into.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

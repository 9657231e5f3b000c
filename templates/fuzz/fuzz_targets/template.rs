//! `cargo +nightly fuzz run template` in `templates/`. The stable test `mutated_cases.rs` runs the same function.
#![no_main]

#[path = "../../tests/exercise/mod.rs"]
mod exercise;

libfuzzer_sys::fuzz_target!(|input: &[u8]| exercise::exercise(input));

//! Any bytes as packets from a client. The tests of `broker/src/connection/exercise.rs` run the same with a stable
//! compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| jitp_broker::fuzzing::codec(input));

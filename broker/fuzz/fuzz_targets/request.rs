//! Any bytes as the payload of a request of fleet provisioning, in JSON and in CBOR. The tests of
//! `broker/src/services/members.rs` run the same with a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| jitp_broker::fuzzing::request(input));

//! Any bytes as what a load balancer says first. The tests of `broker/src/proxy_protocol.rs` run the same with a stable
//! compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| jitp_broker::fuzzing::proxy_protocol(input));

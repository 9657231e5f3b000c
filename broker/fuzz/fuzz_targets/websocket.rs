//! Any bytes as WebSocket frames, read in one piece and in two. The tests of `broker/src/websocket/mod.rs` run the same with
//! a stable compiler.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| jitp_broker::fuzzing::websocket(input));

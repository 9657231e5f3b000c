//! Any bytes as what several clients with policies of their own do: all of the broker but TCP and TLS. The test of
//! `broker/src/connection/exercise/swarm.rs` runs the same with a stable compiler.
#![no_main]

use jitp_broker::fuzzing::Swarm;
use std::sync::LazyLock;

static DIRECTORY: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));
static SWARM: LazyLock<Swarm> = LazyLock::new(|| Swarm::start(DIRECTORY.path(), 1));

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    SWARM.play(input);
});

//! Any bytes as all that a client sends over a connection: all of the broker but TCP and TLS.
#![no_main]

use jitp_broker::fuzzing::Plant;
use std::sync::LazyLock;

static DIRECTORY: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));
static PLANT: LazyLock<Plant> = LazyLock::new(|| Plant::start(DIRECTORY.path()));

libfuzzer_sys::fuzz_target!(|input: &[u8]| PLANT.connection(input));

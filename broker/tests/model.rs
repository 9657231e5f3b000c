//! Scripts of steps that clients and the broker take, made at random, against a model of MQTT that is written plainly. A script
//! that goes wrong is made as short as it can be, and printed.
//!
//! `PROPTEST_CASES` asks for more scripts than the few that always run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

#[path = "model/client.rs"]
mod client;
#[path = "model/crash.rs"]
mod crash;
#[path = "model/deliveries.rs"]
mod deliveries;
#[path = "model/filters.rs"]
mod filters;
#[path = "model/groups.rs"]
mod groups;
#[path = "model/process.rs"]
mod process;
#[path = "model/publishing.rs"]
mod publishing;
#[path = "model/retained.rs"]
mod retained;
#[path = "model/script.rs"]
mod script;
#[path = "model/seam.rs"]
mod seam;
#[path = "model/semantics.rs"]
mod semantics;
#[path = "model/session.rs"]
mod session;
#[path = "model/storage.rs"]
mod storage;
#[path = "model/translation.rs"]
mod translation;
#[path = "model/wills.rs"]
mod wills;

use proptest::prelude::*;
use script::{Kind, scripts};
use storage::{InMemory, OnDisk};

/// So many scripts, or as many as the environment asks for.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|asked| asked.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn every_client_gets_what_the_model_says(script in scripts(Kind::Orderly, 40)) {
        seam::play(&script, Box::new(InMemory::new())).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_kill_loses_and_doubles_nothing_that_was_promised(script in scripts(Kind::Crashing, 40)) {
        seam::play(&script, Box::new(InMemory::new())).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(config(8))]

    #[test]
    fn a_kill_loses_and_doubles_nothing_that_was_promised_on_disk(script in scripts(Kind::Crashing, 25)) {
        seam::play(&script, Box::new(OnDisk::new())).map_err(TestCaseError::fail)?;
    }
}

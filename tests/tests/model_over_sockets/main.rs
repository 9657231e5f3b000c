//! The broker as a process, over TLS with certificates and with rumqttc as the client, against the model of MQTT that its own
//! tests compare it with at a seam inside (`broker/tests/model`): random scripts of what several clients of both versions do,
//! with restarts and kills. A script that goes wrong is made shorter, and printed.
//!
//! Nothing here waits for time to pass: that nothing more comes is known from marks that go the same way as messages do.
//!
//! `PROPTEST_CASES` asks for more scripts than the few that always run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod connection;
mod house;
#[allow(dead_code, reason = "some of it is for the seam inside alone")]
mod model;
mod stage;

use house::House;
use model::script::{Kind, Script, scripts};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use stage::Stage;
use std::cell::RefCell;

#[test]
fn every_client_gets_what_the_model_says_over_sockets_and_restarts() {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|asked| asked.parse().ok());
    let config = Config {
        cases: asked.unwrap_or(24),
        failure_persistence: None,
        max_shrink_iters: 100,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let house = RefCell::new(None);
    let run = |script: Script| {
        // One that a script went wrong in may be in any state.
        let mut open = house.take();
        let played = runtime.block_on(async {
            let house = match &mut open {
                Some(house) => house,
                none => none.insert(House::open().await?),
            };
            Stage::play(house, &script).await
        });
        match played {
            Ok(()) => drop(house.replace(open)),
            Err(wrong) => return Err(TestCaseError::fail(format!("{wrong:#}"))),
        }
        Ok(())
    };
    if let Err(wrong) = TestRunner::new(config).run(&scripts(Kind::OverSockets, 50), run) {
        panic!("{wrong}");
    }
}

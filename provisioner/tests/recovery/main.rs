//! What is found after a crash, or in a directory that is not as it was left. One scenario per file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test"
)]
mod a_copied_directory_opens_with_every_commit;
mod a_damaged_directory_is_refused_with_what_to_do;
mod a_full_disk_stops_writing_and_not_reading;
mod a_killed_process_loses_nothing_that_it_acknowledged;
mod a_registry_keeps_its_account_and_region;
mod a_second_open_is_refused;
mod a_torn_end_of_the_log_leaves_whole_commits;
mod an_unknown_format_is_refused;

use jitp_provisioner::names::ThingName;
use jitp_provisioner::registry::CreateThing;
use jitp_provisioner::{Options, Registry, RegistryError, SystemClock};
use std::path::Path;
use std::sync::Arc;

async fn open(dir: &Path) -> Result<Registry, RegistryError> {
    open_with(dir, Options { min_free_disk: 0, ..Options::default() }).await
}
async fn open_with(dir: &Path, options: Options) -> Result<Registry, RegistryError> {
    Registry::open(dir, options, Arc::new(SystemClock)).await
}
/// Why a directory does not open.
async fn refusal(dir: &Path) -> String {
    open(dir).await.err().expect("it opened").to_string()
}
async fn create(registry: &Registry, name: &str) -> Result<(), RegistryError> {
    registry.create_thing(thing(name), CreateThing::default()).await.map(|_| ())
}
fn thing(name: &str) -> ThingName {
    name.parse().unwrap()
}
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

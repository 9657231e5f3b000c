//! Completion of names from the running broker: quick, and silent when it does not answer.
use crate::args::{Cli, Target};
use crate::client::Client;
use crate::commands::connect_to;
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// How long the person at the shell waits at most.
const PATIENCE: Duration = Duration::from_millis(800);
/// Candidates are not looked for beyond so many: more are no help.
const ENOUGH: usize = 200;

/// Answers the shell and ends the process, if it is the shell that calls. Before anything is printed.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).complete();
}

/// The names of one kind.
#[derive(Clone, Copy)]
struct Names {
    path: &'static str,
    /// The member of a reply that holds the items, and that of an item which holds the name.
    items: &'static str,
    name: &'static str,
    /// Its pages: the cursor in the reply, and in the query.
    next: &'static str,
    cursor: &'static str,
}

impl Names {
    /// Of the lists with `nextToken`.
    const fn by_token(path: &'static str, items: &'static str, name: &'static str) -> Self {
        Self { path, items, name, next: "nextToken", cursor: "nextToken" }
    }
    /// Of the lists with `marker`.
    const fn by_marker(path: &'static str, items: &'static str, name: &'static str) -> Self {
        Self { path, items, name, next: "nextMarker", cursor: "marker" }
    }
    fn completer(self) -> ArgValueCompleter {
        ArgValueCompleter::new(move |current: &OsStr| candidates(self, current))
    }
}

pub fn things() -> ArgValueCompleter {
    Names::by_token("/things?maxResults=250", "things", "thingName").completer()
}
pub fn thing_types() -> ArgValueCompleter {
    Names::by_token("/thing-types?maxResults=250", "thingTypes", "thingTypeName").completer()
}
pub fn thing_groups() -> ArgValueCompleter {
    Names::by_token("/thing-groups?maxResults=250", "thingGroups", "groupName").completer()
}
pub fn billing_groups() -> ArgValueCompleter {
    Names::by_token("/billing-groups?maxResults=250", "billingGroups", "groupName").completer()
}
pub fn templates() -> ArgValueCompleter {
    Names::by_token("/provisioning-templates?maxResults=250", "templates", "templateName").completer()
}
pub fn policies() -> ArgValueCompleter {
    Names::by_marker("/policies?pageSize=250", "policies", "policyName").completer()
}
pub fn certificates() -> ArgValueCompleter {
    Names::by_marker("/certificates?pageSize=250", "certificates", "certificateId").completer()
}
pub fn cas() -> ArgValueCompleter {
    Names::by_marker("/cacertificates?pageSize=250", "certificates", "certificateId").completer()
}

pub fn retained() -> ArgValueCompleter {
    Names::by_token("/retainedMessage?maxResults=200", "retainedTopics", "topic").completer()
}

fn candidates(names: Names, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(prefix) = current.to_str() else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    // What was found in time counts, whatever comes of the rest.
    runtime.block_on(async {
        let look = async { collect(&connect(std::env::args())?, names, prefix, &mut found).await };
        let _ = tokio::time::timeout(PATIENCE, look).await;
    });
    found.into_iter().map(CompletionCandidate::new).collect()
}

async fn collect(client: &Client, names: Names, prefix: &str, found: &mut Vec<String>) -> anyhow::Result<()> {
    let mut cursor: Option<String> = None;
    while found.len() < ENOUGH {
        let reply = client.page(names.path, names.cursor, cursor.as_deref()).await?;
        let items = reply.get(names.items).and_then(Value::as_array).into_iter().flatten();
        let present = items.filter_map(|item| item.get(names.name)?.as_str());
        found.extend(present.filter(|name| name.starts_with(prefix)).map(str::to_owned));
        match reply.get(names.next).and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(())
}

/// The broker that the command line under way means, as far as it says so already.
fn connect(arguments: impl Iterator<Item = String>) -> anyhow::Result<Client> {
    /// What of the command line matters here.
    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Place {
        #[arg(long, env = "JITP_DATA_DIR", default_value = "./jitp-data")]
        data_dir: PathBuf,
        #[command(flatten)]
        target: Target,
    }
    let place = Place::try_parse_from(place_of(arguments))?;
    connect_to(&place.data_dir, &place.target)
}

/// Those words that say where the broker is.
fn place_of(arguments: impl Iterator<Item = String>) -> Vec<String> {
    const SAY_WHERE: [&str; 4] = ["--data-dir", "--api", "--region", "--api-ca"];
    let mut words = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(word) = arguments.next() {
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        if SAY_WHERE.contains(&name) {
            let value = (name == word).then(|| arguments.next()).flatten();
            if name != word || value.is_some() {
                words.push(word);
                words.extend(value);
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_that_say_where_the_broker_is_are_taken_from_a_line_that_is_not_finished() {
        let line = "jitp -- jitp thing show --api http://a:1 --json --region=eu --data-dir";
        let words = place_of(line.split(' ').map(str::to_owned));
        assert_eq!(words, ["--api", "http://a:1", "--region=eu"]);
        assert!(connect(line.split(' ').map(str::to_owned)).is_err(), "no key is there");
    }
}

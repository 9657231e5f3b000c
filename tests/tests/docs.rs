//! What the documentation tells people to type works.
use anyhow::{Context, ensure};
use jitp_tests::{Finished, Running, jitp};
use std::path::Path;
use std::process::Command;

const QUICK_START: &str = include_str!("../../docs/quick-start.md");
const PAGES: &[(&str, &str)] = &[
    ("README.md", include_str!("../../README.md")),
    ("docs/quick-start.md", QUICK_START),
    ("docs/configuration.md", include_str!("../../docs/configuration.md")),
    ("docs/listeners.md", include_str!("../../docs/listeners.md")),
    ("docs/fleet-provisioning.md", include_str!("../../docs/fleet-provisioning.md")),
    ("docs/hooks.md", include_str!("../../docs/hooks.md")),
    ("docs/issuing.md", include_str!("../../docs/issuing.md")),
    ("docs/access.md", include_str!("../../docs/access.md")),
    ("docs/archive.md", include_str!("../../docs/archive.md")),
    ("docs/bulk.md", include_str!("../../docs/bulk.md")),
    ("docs/renewal.md", include_str!("../../docs/renewal.md")),
    ("docs/jitr.md", include_str!("../../docs/jitr.md")),
    ("docs/replay.md", include_str!("../../docs/replay.md")),
    ("docs/reason-codes.md", include_str!("../../docs/reason-codes.md")),
];

/// The blocks of a language, in order.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// The commands of a page, one a line; a line that ends in a backslash goes on.
fn commands(page: &str) -> Vec<String> {
    let joined: Vec<String> =
        blocks(page, "sh").into_iter().map(|block| block.replace("\\\n", " ")).collect();
    joined.iter().flat_map(|block| block.lines()).map(|line| line.trim().to_owned()).collect()
}

/// A shell in the directory of the tour, with `jitp` on its path.
fn shell(directory: &Path, command: &str) -> anyhow::Result<Command> {
    let binaries = jitp().parent().context("no directory")?.display().to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-euc", command]).current_dir(directory).env("PATH", path).env("HOME", directory);
    for name in ["JITP_API", "JITP_DATA_DIR", "JITP_ACCESS_KEY_ID", "JITP_SECRET_ACCESS_KEY"] {
        shell.env_remove(name);
    }
    Ok(shell)
}

/// The tour's broker listens on ports of its own. The one place where what runs differs from what is written.
struct Ports {
    mqtt: String,
    api: String,
}

impl Ports {
    const SERVE: &str = "--mqtt 127.0.0.1:0 --api 127.0.0.1:0";

    fn of(ready: &str) -> anyhow::Result<Self> {
        let words = ready.strip_prefix("ready mqtts=127.0.0.1:").and_then(|rest| rest.split_once(" api="));
        let (mqtt, api) = words.with_context(|| format!("not a ready line: {ready}"))?;
        Ok(Self { mqtt: mqtt.to_owned(), api: api.to_owned() })
    }

    fn command(&self, text: &str) -> String {
        let text = text.replace("http://127.0.0.1:8080", &self.api);
        text.replace("jitp device connect", &format!("jitp device connect --port {}", self.mqtt))
    }
}

#[test]
fn the_quick_start_works_from_the_first_command_to_the_last() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let documents = blocks(QUICK_START, "json");
    ensure!(documents.len() == 2, "the page has another number of JSON documents");
    for (name, document) in ["template.json", "device-policy.json"].into_iter().zip(documents) {
        std::fs::write(directory.path().join(name), document)?;
    }
    let mut broker: Option<(Running, Ports)> = None;
    let mut ran = 0;
    for command in commands(QUICK_START) {
        // AWS's own tools are run by the tests of the clients that are not ours.
        if command.starts_with("aws ") || command.starts_with("export AWS_") {
            continue;
        }
        ran += 1;
        let Some((_, ports)) = &broker else {
            ensure!(command.starts_with("jitp serve"), "the page does not begin with the broker: {command}");
            let mut serve = shell(directory.path(), &format!("exec {command} {}", Ports::SERVE))?;
            serve.stdin(std::process::Stdio::null());
            let running = Running::start(serve)?;
            let ports = Ports::of(&running.line()?)?;
            broker = Some((running, ports));
            continue;
        };
        let mut run = shell(directory.path(), &format!("exec {}", ports.command(&command)))?;
        run.env("JITP_API", &ports.api);
        if command.contains("--follow") {
            // It goes on until it is stopped; what it prints is tested with the command line.
            drop(Running::start(run)?);
            continue;
        }
        let finished = Finished::from_command(&mut run)?;
        ensure!(finished.code == Some(0), "{command}\n{}{}", finished.stdout, finished.stderr);
        let said = finished.stdout;
        if command == "jitp attempts" {
            ensure!(said.contains("PROVISIONED") && said.contains("pump-0042"), "{said}");
        }
    }
    ensure!(ran >= 14, "only {ran} commands: has the page changed its form?");
    Ok(())
}

#[test]
fn every_command_and_option_that_a_page_names_exists() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut checked = 0;
    for (page, text) in PAGES {
        for command in commands(text).iter().filter(|command| command.starts_with("jitp ")) {
            let words: Vec<&str> = command.split_whitespace().skip(1).collect();
            let help = help(directory.path(), &words).with_context(|| format!("{page}: {command}"))?;
            for option in words.iter().filter(|word| word.starts_with("--")) {
                ensure!(help.contains(option), "{page}: {command}: there is no {option}");
            }
            checked += 1;
        }
    }
    ensure!(checked >= 20, "only {checked} commands: have the pages changed their form?");
    Ok(())
}

/// The help of the longest command that these words begin with.
fn help(directory: &Path, words: &[&str]) -> anyhow::Result<String> {
    let path: Vec<&str> = words.iter().copied().take_while(|word| !word.starts_with('-')).collect();
    for length in (1..=path.len().min(2)).rev() {
        let arguments: Vec<&str> = path.iter().copied().take(length).chain(["--help"]).collect();
        let help = Finished::of(directory, &arguments)?;
        if help.code == Some(0) {
            return Ok(help.stdout);
        }
    }
    anyhow::bail!("there is no such command")
}

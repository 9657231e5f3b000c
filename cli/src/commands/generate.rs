//! Completions and the manual page. A completion script asks the program, which knows its command line and, from the
//! broker, the names of things.
use crate::args::Cli;
use crate::exit::Exit;
use crate::output;
use anyhow::Context;
use clap::CommandFactory;

pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let shells = clap_complete::env::Shells::builtins();
    let shell = shell.to_string();
    let completer =
        shells.completer(&shell).with_context(|| format!("there is no completion for {shell}"))?;
    let mut script = Vec::new();
    completer.write_registration("COMPLETE", "jitp", "jitp", "jitp", &mut script)?;
    output::text(&String::from_utf8_lossy(&script))
}

pub fn man() -> anyhow::Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    output::text(&String::from_utf8_lossy(&page))
}

//! Completions and the manual page, from the command line's own definition.
use crate::args::Cli;
use crate::exit::Exit;
use crate::output;
use clap::CommandFactory;

pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "jitp", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}

pub fn man() -> anyhow::Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    output::text(&String::from_utf8_lossy(&page))
}

//! Asking before something is lost.
use crate::exit::InvalidInput;
use anyhow::Context;
use std::io::{BufRead, IsTerminal, Write};

/// Of commands that delete, or cut somebody off.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Sure {
    /// Do not ask (nobody is asked where input is no terminal)
    #[arg(long, short)]
    pub yes: bool,
}

impl Sure {
    /// Asks whoever sits at the terminal. Anything but yes ends the command with exit code 3.
    pub fn about(self, what: &str) -> anyhow::Result<()> {
        let stdin = std::io::stdin();
        if self.yes || !stdin.is_terminal() {
            return Ok(());
        }
        let mut out = std::io::stderr().lock();
        write!(out, "{what}? [y/N] ").and_then(|()| out.flush()).context("cannot ask")?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).context("cannot read the answer")?;
        if is_yes(&answer) {
            return Ok(());
        }
        Err(InvalidInput("nothing was done".into()).into())
    }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(is_yes("y\n") && is_yes("YES"));
        assert!(!is_yes("") && !is_yes("n\n") && !is_yes("yesterday"));
    }
}

//! Figures of a run, drawn by `plot.py` with matplotlib. Its environment is made below the target directory when first
//! needed, with the release that `requirements.txt` pins.
use crate::lab::target_directory;
use crate::report::progress;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plot.py");
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/requirements.txt");

/// Draws one PNG for every scenario beside the results.
pub fn draw(results: &Path) -> anyhow::Result<()> {
    let python = python()?;
    run(Command::new(&python).arg(SCRIPT).arg(results))
}

/// A Python that has matplotlib.
fn python() -> anyhow::Result<PathBuf> {
    let environment = target_directory()?.join("peers/plots");
    let python = environment.join("bin/python");
    let has_matplotlib = Command::new(&python)
        .args(["-c", "import matplotlib"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_matplotlib {
        progress(&format!("installing matplotlib below {}", environment.display()));
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        // The release from the list, and nothing else of the list.
        run(Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--constraint",
                REQUIREMENTS,
            ])
            .arg("matplotlib"))?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}; --no-plots leaves the figures out");
    Ok(())
}

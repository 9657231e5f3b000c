//! Exit codes: part of the interface.
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, allowed.
    Success,
    /// It worked, and the answer is no: denied, refused, would fail.
    Denied,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => ExitCode::SUCCESS,
            Exit::Denied => ExitCode::from(2),
        }
    }
}

/// The input (arguments, a file, a request that the broker refused as invalid) is wrong: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidInput(pub String);

/// The exit code of a failed command: 3 for invalid input, 1 for everything that is broken.
pub fn of_error(error: &anyhow::Error) -> ExitCode {
    let invalid = error.chain().any(|cause| cause.downcast_ref::<InvalidInput>().is_some());
    ExitCode::from(if invalid { 3 } else { 1 })
}

//! A thread that goes before others.
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::process::{Command, Stdio};

/// Before every other thread that was not given priority itself.
const FIRST: i32 = -20;

/// Puts this thread before all that are scheduled as usual, if that is permitted. False: it is not, or there is no `chrt`.
///
/// A nice value alone does not do: it says how much of a processor a thread gets, but whoever runs may go on until the end of its
/// slice, or until the next tick of the clock, which may be four milliseconds away.
pub fn go_first() -> bool {
    let thread = gettid().as_raw_nonzero().to_string();
    let mut command = Command::new("chrt");
    command.args(["--fifo", "--pid", "1", &thread]).stdout(Stdio::null()).stderr(Stdio::null());
    let first = command.status().is_ok_and(|status| status.success());
    if !first {
        // Better than nothing.
        let _ = setpriority_process(None, FIRST);
    }
    first
}

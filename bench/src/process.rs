//! Child processes, and what the kernel says about a process.
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A child process; killed by its id when dropped.
pub struct Process {
    child: Child,
    name: &'static str,
}

impl Process {
    /// Starts it with its standard error passed on.
    pub fn spawn(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("{name} does not start: {command:?}"))?;
        Ok(Self { child, name })
    }

    /// Starts it and waits for the first line on its standard output; says how long that took.
    pub fn spawn_until_ready(
        name: &'static str,
        command: &mut Command,
    ) -> anyhow::Result<(Self, String, Duration)> {
        let started = Instant::now();
        let mut process = Self::spawn(name, command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdout = process.child.stdout.take().context("no standard output")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) => Ok((process, line, started.elapsed())),
            Err(_) => bail!("{name} did not get ready: {:?}", process.child.try_wait()?),
        }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended?
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended: {status}", self.name),
            None => Ok(()),
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, Signal::TERM)?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(started.elapsed() < PATIENCE, "{} does not stop", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that a process has used, in user and kernel mode: to 10 ms.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} has ended"))?;
    let fields = stat.rsplit_once(')').context("an unreadable stat")?.1;
    // utime and stime are fields 14 and 15; the text starts at field 3.
    ticks(fields.split_ascii_whitespace().skip(11).take(2))
}

/// Processor time that the whole machine has used.
pub fn machine_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    // user nice system idle iowait irq softirq steal
    let fields = line.split_ascii_whitespace().skip(1).take(8).enumerate();
    ticks(fields.filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, field)| field))
}

/// Memory of a process that is in RAM, in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most memory of a process that has ever been in RAM, in bytes.
pub fn peak_resident_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.with_context(|| format!("no {name}"))?.trim().trim_end_matches("kB").trim();
    Ok(kilobytes.parse::<u64>()? * 1024)
}

/// How many files this process may have open at the same time.
pub fn open_files() -> u32 {
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(u32::MAX, |files| u32::try_from(files).unwrap_or(u32::MAX))
}

/// Lifts the limit of open files to what the system allows; children inherit it.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> anyhow::Result<Duration> {
    let sum = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs_f64(sum as f64 / rustix::param::clock_ticks_per_second() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_about_this_process() {
        let own = std::process::id();
        let resident = resident_bytes(own).unwrap();
        assert!(resident > 100_000 && peak_resident_bytes(own).unwrap() >= resident);
        let before = cpu_time(own).unwrap();
        let machine = machine_time().unwrap();
        let started = Instant::now();
        // The two are counted apart: one may show a tick before the other does.
        while cpu_time(own).unwrap() == before || machine_time().unwrap() == machine {
            assert!(started.elapsed() < PATIENCE, "a busy process uses no processor time");
        }
    }

    #[test]
    fn a_child_is_ended_by_its_id() {
        let (child, line, _) =
            Process::spawn_until_ready("sh", Command::new("sh").args(["-c", "echo ready; exec cat"]))
                .unwrap();
        assert_eq!(line, "ready");
        let pid = child.id();
        child.terminate().unwrap();
        assert!(cpu_time(pid).is_err());
    }
}

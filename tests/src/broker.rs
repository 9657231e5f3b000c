//! A `jitp serve` process.
use crate::patience::{LONG_PATIENCE, PATIENCE};
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

/// The path of the binary, built once per test process with the tests' own profile.
#[expect(clippy::panic, reason = "tests that cannot build their subject have nothing to return")]
pub fn jitp() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build().unwrap_or_else(|error| panic!("cannot build jitp: {error:#}")))
}

fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "jitp", "--bin", "jitp", "--message-format", "json"]);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo tells this test about its own package would make the other cargo build some packages again.
    for (name, _) in std::env::vars_os() {
        let own =
            |text: &str| ["CARGO_MANIFEST", "CARGO_PKG_", "CARGO_CRATE_"].iter().any(|p| text.starts_with(p));
        if name.to_str().is_some_and(own) {
            command.env_remove(name);
        }
    }
    let output = command.stderr(Stdio::inherit()).output().context("cargo does not start")?;
    ensure!(output.status.success(), "cargo build failed");
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some("jitp"))
        .find_map(|message| message.get("executable").and_then(Value::as_str).map(PathBuf::from))
        .context("cargo names no executable")
}

/// How to start a broker. `Default`: a fresh data directory, the standard profile, default configuration.
#[derive(Debug, Clone, Default)]
pub struct BrokerOptions {
    /// Further arguments of `jitp serve`.
    pub arguments: Vec<String>,
    /// Text of a configuration file.
    pub config: Option<String>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// Where the data directory is, instead of a fresh one.
    pub data_dir: Option<PathBuf>,
    /// The limits of open files that it is started with, soft and hard.
    pub open_files: Option<(u32, u32)>,
}

impl BrokerOptions {
    /// With further arguments of `jitp serve`.
    pub fn arguments(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|text| (*text).to_owned()).collect(), ..Self::default() }
    }

    /// With the text of a configuration file.
    pub fn config(text: &str) -> Self {
        Self { config: Some(text.to_owned()), ..Self::default() }
    }

    /// `jitp`, with the limits that were asked for.
    fn program(&self) -> Command {
        let Some((soft, hard)) = self.open_files else { return Command::new(jitp()) };
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
        shell.arg("-c").arg(limited).arg(jitp());
        shell
    }
}

/// A running `jitp serve`; killed when dropped.
pub struct Broker {
    child: Child,
    listening: Vec<(String, SocketAddr)>,
    api: String,
    data_dir: PathBuf,
    options: BrokerOptions,
    log: Arc<Mutex<Vec<u8>>>,
    directory: Arc<tempfile::TempDir>,
}

/// A command that ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output as JSON; fails unless the command succeeded.
    pub fn json(&self) -> anyhow::Result<Value> {
        ensure!(self.code == Some(0), "exit code {:?}: {}{}", self.code, self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }
}

impl Broker {
    /// Starts with the defaults.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(BrokerOptions::default())
    }

    /// Starts in a fresh directory (or the one given) and waits for the ready line.
    pub fn start_with(options: BrokerOptions) -> anyhow::Result<Self> {
        let directory = Arc::new(tempfile::tempdir()?);
        let data_dir = options.data_dir.clone().unwrap_or_else(|| directory.path().join("data"));
        Self::launch(data_dir, directory, options)
    }

    /// Starts where that must fail; returns how it ended. Fails if the broker becomes ready.
    pub fn refused(options: BrokerOptions) -> anyhow::Result<Finished> {
        let directory = tempfile::tempdir()?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| directory.path().join("data"));
        let mut starting = Starting::new(&data_dir, directory.path(), &options)?;
        let line = starting.lines.recv_timeout(PATIENCE);
        // Its standard output ends when it does.
        let ended = line == Err(RecvTimeoutError::Disconnected);
        if !ended {
            starting.child.kill()?;
        }
        let status = starting.child.wait()?;
        ensure!(ended, "it started, or does not end: {line:?}");
        let _ = starting.logged.join();
        Ok(Finished { code: status.code(), stdout: String::new(), stderr: text(&starting.log) })
    }

    fn launch(
        data_dir: PathBuf,
        directory: Arc<tempfile::TempDir>,
        options: BrokerOptions,
    ) -> anyhow::Result<Self> {
        let Starting { mut child, lines, log, logged } =
            Starting::new(&data_dir, directory.path(), &options)?;
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let status = child.wait()?;
            let _ = logged.join();
            bail!("no ready line ({status}): {}", text(&log));
        };
        let (listening, api) = parse_ready(&line)?;
        Ok(Self { child, listening, api, data_dir, options, log, directory })
    }

    /// Where devices connect.
    pub fn mqtt(&self) -> SocketAddr {
        self.first("mqtts")
    }

    /// Where devices connect over WebSocket, and publish over HTTPS: with `--https` only.
    pub fn https(&self) -> SocketAddr {
        self.first("https")
    }

    /// Where devices connect, as the ready line says it: kinds and addresses.
    pub fn listening(&self) -> &[(String, SocketAddr)] {
        &self.listening
    }

    #[expect(clippy::panic, reason = "tests that ask for what they did not start have nothing to return")]
    fn first(&self, kind: &str) -> SocketAddr {
        let found = self.listening.iter().find(|(listening, _)| listening == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {:?}", self.listening)).1
    }

    /// `http://127.0.0.1:PORT`, or `https://…` with `--api-tls`.
    pub fn api_url(&self) -> String {
        self.api.clone()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// PEM of the CA that devices trust.
    pub fn server_ca(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.data_dir.join("server-ca.pem"))?)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Waits until it has logged something.
    pub fn wait_for_log(&self, what: &str, logged: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !logged(&self.log()) {
            ensure!(started.elapsed() < PATIENCE, "the log lacks {what}: {}", self.log());
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Starts a `jitp` command against this broker that goes on.
    pub fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Running> {
        let mut command = Command::new(jitp());
        command.args(arguments).arg("--data-dir").arg(&self.data_dir).env("JITP_API", self.api_url());
        Running::start(command)
    }

    /// Runs `jitp` against this broker.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let mut command = Command::new(jitp());
        command.args(arguments).arg("--data-dir").arg(&self.data_dir).env("JITP_API", self.api_url());
        Finished::from_command(&mut command)
    }

    /// Runs `jitp` against this broker with further environment variables.
    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Finished> {
        let mut command = Command::new(jitp());
        command.args(arguments).arg("--data-dir").arg(&self.data_dir).env("JITP_API", self.api_url());
        Finished::from_command(command.envs(environment.iter().copied()))
    }

    /// Runs `jitp --json` against this broker and parses the reply.
    pub fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        self.run(&all)?.json()
    }

    /// Repeats a question until its answer satisfies, at most for [`PATIENCE`].
    pub fn wait_for(&self, arguments: &[&str], satisfied: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let started = Instant::now();
        loop {
            let answer = self.ask(arguments)?;
            if satisfied(&answer) {
                return Ok(answer);
            }
            ensure!(started.elapsed() < PATIENCE, "still {answer:#} after {PATIENCE:?}");
        }
    }

    /// The attempts of a certificate, oldest first, once there are at least `least`.
    pub fn attempts(&self, certificate_id: &str, least: usize) -> anyhow::Result<Vec<Value>> {
        let enough = |answer: &Value| answer.as_array().is_some_and(|list| list.len() >= least);
        let answer = self.wait_for(&["attempts", "--certificate", certificate_id], enough)?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(&mut self) -> anyhow::Result<Option<i32>> {
        signal(self.child.id(), "TERM")?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(started.elapsed() < PATIENCE, "it does not stop: {}", self.log());
            std::thread::yield_now();
        }
    }

    /// Starts again over the same data directory, after [`Broker::kill`] or [`Broker::terminate`].
    pub fn restart(self) -> anyhow::Result<Self> {
        let (data_dir, directory, options) =
            (self.data_dir.clone(), self.directory.clone(), self.options.clone());
        drop(self);
        Self::launch(data_dir, directory, options)
    }

    /// [`Broker::restart`] with other options; the data directory stays.
    pub fn restart_with(self, options: BrokerOptions) -> anyhow::Result<Self> {
        let (data_dir, directory) = (self.data_dir.clone(), self.directory.clone());
        drop(self);
        Self::launch(data_dir, directory, options)
    }
}

/// A process that may become a broker.
struct Starting {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: Arc<Mutex<Vec<u8>>>,
    logged: std::thread::JoinHandle<()>,
}

impl Starting {
    fn new(data_dir: &Path, directory: &Path, options: &BrokerOptions) -> anyhow::Result<Self> {
        let mut command = options.program();
        command.args(["serve", "--mqtt", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        if !options.arguments.iter().any(|argument| argument == "--api") {
            command.args(["--api", "127.0.0.1:0"]);
        }
        if let Some(text) = &options.config {
            let file = directory.join("config.toml");
            std::fs::write(&file, text)?;
            command.arg("--config").arg(file);
        }
        command.args(&options.arguments).envs(options.environment.iter().map(|(k, v)| (k, v)));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("no standard error")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = log.clone();
        let logged = std::thread::spawn(move || collect(stderr, &sink));
        let lines = lines(child.stdout.take().context("no standard output")?);
        Ok(Self { child, lines, log, logged })
    }
}

/// A command that goes on; killed when dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let lines = lines(child.stdout.take().context("no standard output")?);
        Ok(Self { child, lines })
    }

    /// The next line of its standard output.
    pub fn line(&self) -> anyhow::Result<String> {
        self.lines.recv_timeout(PATIENCE).context("no further line")
    }

    /// The next line of its standard output, if one is there already.
    pub fn line_at_hand(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(from).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that is to be read there, once that is known.
fn whole(mut from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

impl Finished {
    /// Runs a command to its end. One that does not end is killed, and an error.
    pub fn from_command(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = whole(child.stdout.take().context("no standard output")?);
        let stderr = whole(child.stderr.take().context("no standard error")?);
        let said = (stdout.recv_timeout(LONG_PATIENCE), stderr.recv_timeout(LONG_PATIENCE));
        if said.0.is_err() || said.1.is_err() {
            let _ = child.kill();
        }
        let status = child.wait()?;
        let (Ok(stdout), Ok(stderr)) = said else { bail!("{command:?} does not end") };
        Ok(Self { code: status.code(), stdout, stderr })
    }

    /// Runs `jitp` in a directory, without a broker and without the environment's access keys.
    pub fn of(directory: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(jitp());
        command.args(arguments).current_dir(directory).env("HOME", directory);
        for name in
            ["JITP_ACCESS_KEY_ID", "JITP_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        {
            command.env_remove(name);
        }
        Finished::from_command(&mut command)
    }
}

fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
    ensure!(status.success(), "kill -{name} {pid} failed");
    Ok(())
}

fn collect(mut from: impl std::io::Read, into: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        if let (Ok(mut log), Some(bytes)) = (into.lock(), chunk.get(..length)) {
            log.extend_from_slice(bytes);
        }
    }
}

fn text(log: &Mutex<Vec<u8>>) -> String {
    log.lock().map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
}

/// `ready mqtts=HOST:PORT api=http://HOST:PORT`, and perhaps more listeners.
fn parse_ready(line: &str) -> anyhow::Result<(Vec<(String, SocketAddr)>, String)> {
    let mut words = line.split(' ');
    ensure!(words.next() == Some("ready"), "not a ready line: {line:?}");
    let (mut listening, mut api) = (Vec::new(), None);
    for word in words {
        match word.split_once('=').with_context(|| format!("in the ready line: {word:?}"))? {
            ("api", url) => api = Some(url.to_owned()),
            (kind, address) => listening.push((kind.to_owned(), address.parse()?)),
        }
    }
    Ok((listening, api.with_context(|| format!("no api in the ready line: {line:?}"))?))
}

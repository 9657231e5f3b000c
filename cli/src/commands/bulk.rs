//! `jitp bulk`: provision a file of devices, a line for each (`docs/bulk.md`).
use super::{connect, read};
use crate::args::{Global, Target};
use crate::client::{Client, encode};
use crate::exit::{Exit, InvalidInput};
use crate::http::chunk;
use crate::output::{self, member, optional, time};
use crate::progress;
use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Inputs in this bucket are removed by the broker when their task has ended.
const ONCE: &str = "once";
/// How often a task that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Stored and returned, as everywhere.
const ROLE: &str = "arn:aws:iam::000000000000:role/jitp-bulk";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a registration task: a template, run with the values of each line
    Start(Start),
    /// Show how far a task is
    Status {
        /// The task's id
        id: String,
        /// Go on showing it until it has ended
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Stop a task: lines under way end, no further one is begun
    Stop {
        /// The task's id
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Print a report: what became of each line, as JSON lines
    Report(Report),
    /// List tasks, newest first
    List {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
pub struct Start {
    /// The template (docs/bulk.md)
    #[arg(long, value_name = "FILE")]
    pub template: PathBuf,
    /// The values, a JSON object of strings a line: a file here (when the broker runs on this machine), or BUCKET/KEY
    /// below the broker's bulk.directory
    #[arg(long, value_name = "FILE|BUCKET/KEY")]
    pub input: String,
    /// Show how far it is until it has ended
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["errors", "results"]))]
pub struct Report {
    /// The task's id
    pub id: String,
    /// Lines that were not provisioned, and why (this is the default)
    #[arg(long)]
    pub errors: bool,
    /// Lines that were provisioned, with their certificates and ARNs
    #[arg(long)]
    pub results: bool,
    #[command(flatten)]
    pub target: Target,
}

pub async fn run(global: &Global, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => start(global, &args).await,
        Command::Status { id, follow: true, target } => follow(global, &connect(global, &target)?, &id).await,
        Command::Status { id, target, .. } => {
            show(global, &describe(&connect(global, &target)?, &id).await?).map(|_| Exit::Success)
        }
        Command::Stop { id, target } => {
            let client = connect(global, &target)?;
            client.put(&format!("{}/cancel", path(&id)), &json!({})).await?;
            show(global, &describe(&client, &id).await?).map(|_| Exit::Success)
        }
        Command::Report(args) => report(&connect(global, &args.target)?, &args).await,
        Command::List { target } => list(global, &connect(global, &target)?).await,
    }
}

async fn start(global: &Global, args: &Start) -> anyhow::Result<Exit> {
    let client = connect(global, &args.target)?;
    let template = read(&args.template)?;
    let (bucket, key, copy) = input(&client, &args.input).await?;
    let request = json!({
        "templateBody": template, "inputFileBucket": bucket, "inputFileKey": key, "roleArn": ROLE,
    });
    let started = client.post("/thing-registration-tasks", &request).await;
    if let (Err(_), Some(copy)) = (&started, copy) {
        let _ = std::fs::remove_file(copy);
    }
    let id = member(&started?, "taskId");
    if args.follow {
        return follow(global, &client, &id).await;
    }
    if global.json {
        return output::json(&json!({ "taskId": id }));
    }
    output::fields(&[("task", Some(id.clone())), ("next", Some(format!("jitp bulk status {id} --follow")))])
}

/// Bucket and key of an input, and the copy that was made of it for the broker to find.
async fn input(client: &Client, given: &str) -> anyhow::Result<(String, String, Option<PathBuf>)> {
    let file = Path::new(given);
    if !file.is_file() {
        return match given.split_once('/') {
            Some((bucket, key)) if !given.starts_with(['/', '.']) => Ok((bucket.into(), key.into(), None)),
            _ => Err(InvalidInput(format!("there is no file {given}, and it is not BUCKET/KEY")).into()),
        };
    }
    let status = client.get("/jitp/v1/status").await?;
    let directory = PathBuf::from(member(&status, "bulkDirectory"));
    let Ok(directory) = directory.canonicalize() else {
        return Err(InvalidInput(format!(
            "the broker reads input from {}, which is not on this machine: bring the file there, as BUCKET/KEY",
            directory.display()
        ))
        .into());
    };
    let file = file.canonicalize().with_context(|| format!("cannot read {given}"))?;
    if let Some((bucket, key)) =
        file.strip_prefix(&directory).ok().and_then(Path::to_str).and_then(|below| below.split_once('/'))
    {
        return Ok((bucket.into(), key.into(), None));
    }
    let key = format!("{}.jsonl", uuid::Uuid::new_v4());
    let copy = directory.join(ONCE).join(&key);
    let copied = std::fs::create_dir_all(directory.join(ONCE)).and_then(|()| std::fs::copy(&file, &copy));
    copied.with_context(|| format!("cannot copy {given} to {} for the broker", copy.display()))?;
    Ok((ONCE.into(), key, Some(copy)))
}

fn path(id: &str) -> String {
    format!("/thing-registration-tasks/{}", encode(id))
}

async fn describe(client: &Client, id: &str) -> anyhow::Result<Value> {
    client.get(&path(id)).await
}

/// Shows a task until it has ended. The answer is no unless every line was provisioned.
async fn follow(global: &Global, client: &Client, id: &str) -> anyhow::Result<Exit> {
    let bar = progress::of_percent();
    let task = loop {
        let task = describe(client, id).await?;
        bar.set_position(task.get("percentageProgress").and_then(Value::as_u64).unwrap_or(0));
        let (done, failed) = (member(&task, "successCount"), member(&task, "failureCount"));
        bar.set_message(match optional(&task, "message") {
            Some(message) => message,
            None => format!("{done} provisioned, {failed} failed"),
        });
        if !matches!(member(&task, "status").as_str(), "InProgress" | "Cancelling") {
            break task;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    bar.finish_and_clear();
    show(global, &task)?;
    let all = member(&task, "status") == "Completed" && member(&task, "failureCount") == "0";
    Ok(if all { Exit::Success } else { Exit::Denied })
}

fn show(global: &Global, task: &Value) -> anyhow::Result<Exit> {
    if global.json {
        return output::json(task);
    }
    let failed = member(task, "failureCount");
    output::fields(&[
        ("task", optional(task, "taskId")),
        ("status", optional(task, "status")),
        ("message", optional(task, "message")),
        ("input", Some(format!("{}/{}", member(task, "inputFileBucket"), member(task, "inputFileKey")))),
        ("progress", Some(format!("{} %", member(task, "percentageProgress")))),
        ("provisioned", optional(task, "successCount")),
        ("failed", Some(failed.clone())),
        ("started", time(task, "creationDate")),
        ("modified", time(task, "lastModifiedDate")),
        ("next", (failed != "0").then(|| format!("jitp bulk report {} --errors", member(task, "taskId")))),
    ])
}

async fn report(client: &Client, args: &Report) -> anyhow::Result<Exit> {
    let kind = if args.results { "RESULTS" } else { "ERRORS" };
    let reply = client.get(&format!("{}/reports?reportType={kind}", path(&args.id))).await?;
    let links = reply.get("resourceLinks").and_then(Value::as_array).cloned().unwrap_or_default();
    for link in links.iter().filter_map(Value::as_str) {
        let at = link.find("/jitp/").with_context(|| format!("{link} is not a link to a report"))?;
        let mut response = client.stream(link.get(at..).unwrap_or_default()).await?;
        while let Some(bytes) = chunk(&mut response).await? {
            output::bytes(&bytes)?;
        }
    }
    Ok(Exit::Success)
}

async fn list(global: &Global, client: &Client) -> anyhow::Result<Exit> {
    let list = client.list("/thing-registration-tasks?maxResults=250", "taskIds", "nextToken", "nextToken");
    let mut tasks = Vec::new();
    for id in list.await?.iter().rev().filter_map(Value::as_str) {
        tasks.push(describe(client, id).await?);
    }
    if global.json {
        return output::json(&Value::Array(tasks));
    }
    let row = |task: &Value| {
        vec![
            member(task, "taskId"),
            member(task, "status"),
            member(task, "successCount"),
            member(task, "failureCount"),
            time(task, "creationDate").unwrap_or_default(),
            format!("{}/{}", member(task, "inputFileBucket"), member(task, "inputFileKey")),
        ]
    };
    let headings = ["task", "status", "provisioned", "failed", "started", "input"];
    output::table(&headings, tasks.iter().map(row).collect())
}

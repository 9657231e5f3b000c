//! Registration tasks of a running broker: killed in the middle, stopped, and asked over the command line.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_tests::{Broker, BrokerOptions, Factory, POLICY};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

const TEMPLATE: &str = r#"{
  "Parameters": { "ThingName": {"Type": "String"}, "Certificate": {"Type": "String"} },
  "Resources": {
    "thing": { "Type": "AWS::IoT::Thing", "Properties": { "ThingName": {"Ref": "ThingName"} } },
    "certificate": { "Type": "AWS::IoT::Certificate",
      "Properties": { "CertificatePem": {"Ref": "Certificate"}, "Status": "ACTIVE" } },
    "policy": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyName": "device" } } } }"#;

/// A broker with a CA and a policy, and a directory for its operator.
struct Site {
    broker: Broker,
    factory: Factory,
    desk: tempfile::TempDir,
}

impl Site {
    /// With so few lines at a time that a task is long enough to be disturbed.
    fn new(lines_in_flight: usize) -> anyhow::Result<Self> {
        let config = format!("[bulk]\nlines_in_flight = {lines_in_flight}");
        let broker = Broker::start_with(BrokerOptions::config(&config))?;
        let factory = Factory::new("Bulk CA")?;
        let policy = factory.file("policy.json", POLICY)?;
        broker.ask(&["policy", "create", "device", "--document", path(&policy)?])?;
        factory.register_with(&broker, &["--jitr"])?;
        let desk = tempfile::tempdir()?;
        std::fs::write(desk.path().join("template.json"), TEMPLATE)?;
        Ok(Self { broker, factory, desk })
    }

    /// An input of so many devices; every tenth line names no certificate.
    fn input(&self, count: usize) -> anyhow::Result<String> {
        let mut text = String::new();
        for (number, device) in self.factory.devices("bulk", count)?.iter().enumerate() {
            let pem = if number % 10 == 9 { "none".into() } else { device.certificate.to_pem() };
            let line = json!({ "ThingName": format!("bulk-{number}"), "Certificate": pem });
            text.push_str(&format!("{line}\n"));
        }
        Ok(text)
    }

    fn start(&self, input: &str) -> anyhow::Result<String> {
        let file = self.desk.path().join("devices.jsonl");
        std::fs::write(&file, input)?;
        let template = self.desk.path().join("template.json");
        let started =
            self.broker.ask(&["bulk", "start", "--template", path(&template)?, "--input", path(&file)?])?;
        Ok(started["taskId"].as_str().context("no task")?.to_owned())
    }

    /// Waits until a task is as wanted.
    fn task(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        self.broker.wait_for(&["bulk", "status", id], wanted)
    }

    fn report(&self, id: &str, which: &str) -> anyhow::Result<Vec<Value>> {
        let printed = self.broker.run(&["bulk", "report", id, which])?;
        ensure!(printed.code == Some(0), "{printed:?}");
        printed.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

fn done(task: &Value) -> u64 {
    task["successCount"].as_u64().unwrap_or(0) + task["failureCount"].as_u64().unwrap_or(0)
}

fn ended(task: &Value) -> bool {
    !matches!(task["status"].as_str(), Some("InProgress" | "Cancelling"))
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line["lineId"].as_u64()).collect()
}

#[tokio::test]
async fn a_task_whose_broker_is_killed_again_and_again_does_every_line_once() -> anyhow::Result<()> {
    const LINES: u64 = 1_500;
    let mut site = Site::new(8)?;
    let input = site.input(LINES as usize)?;
    let id = site.start(&input)?;
    for part in [1, 200, 700, 1_000] {
        site.task(&id, |task| done(task) >= part)?;
        site.broker.kill()?;
        site = Site { broker: site.broker.restart()?, ..site };
    }
    let task = site.task(&id, ended)?;
    ensure!(task["status"] == "Completed" && task["percentageProgress"] == 100, "{task:#}");
    ensure!(task["successCount"] == LINES * 9 / 10 && task["failureCount"] == LINES / 10, "{task:#}");

    let (results, errors) = (site.report(&id, "--results")?, site.report(&id, "--errors")?);
    let (good, bad): (Vec<u64>, Vec<u64>) = (1..=LINES).partition(|number| number % 10 != 0);
    assert_eq!(numbers(&results), good, "each once, in the order of the input");
    assert_eq!(numbers(&errors), bad, "each once, in the order of the input");
    let lines: Vec<&str> = input.lines().collect();
    for line in results.iter().step_by(97).chain(errors.iter().step_by(13)) {
        let (number, offset) = (line["lineId"].as_u64().context("no line")?, line["offset"].as_u64());
        let before: usize = lines.iter().take(number as usize - 1).map(|line| line.len() + 1).sum();
        ensure!(offset == Some(before as u64), "{line:#}");
    }
    ensure!(
        errors[0]["errorMessage"].as_str().is_some_and(|why| why.contains("certificate")),
        "{}",
        errors[0]
    );

    // What the registry holds is what the report says, each made by one run.
    let api = site.broker.api()?;
    let things = api.list("/things?maxResults=250", "things", "nextToken", "nextToken").await?;
    let things: BTreeSet<&str> = things.iter().filter_map(|thing| thing["thingName"].as_str()).collect();
    ensure!(things.len() == good.len(), "{} things", things.len());
    for line in results.iter().step_by(131) {
        let arns = &line["response"]["resourceArns"];
        let thing = arns["thing"].as_str().and_then(|arn| arn.rsplit('/').next()).context("no thing")?;
        let principals = api.get(&format!("/things/{thing}/principals")).await?;
        ensure!(principals["principals"] == json!([arns["certificate"]]), "{principals} {arns}");
        ensure!(line["response"]["certificatePem"].as_str().is_some_and(|pem| pem.contains("CERTIFICATE")));
    }
    let left = site.broker.data_dir().join("bulk/input/once");
    let started = Instant::now();
    while std::fs::read_dir(&left)?.count() > 0 {
        ensure!(started.elapsed() < Duration::from_secs(60), "the copy of the input stays");
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_that_is_asked_to_end_leaves_a_task_for_the_next_one() -> anyhow::Result<()> {
    let mut site = Site::new(8)?;
    let input = site.input(600)?;
    let id = site.start(&input)?;
    site.task(&id, |task| done(task) >= 1)?;
    ensure!(site.broker.terminate()? == Some(0));
    site = Site { broker: site.broker.restart()?, ..site };
    let task = site.task(&id, ended)?;
    ensure!(task["status"] == "Completed" && done(&task) == 600, "{task:#}");
    assert_eq!(numbers(&site.report(&id, "--results")?).len(), 540);
    Ok(())
}

#[tokio::test]
async fn links_to_reports_need_no_key_and_open_nothing_else() -> anyhow::Result<()> {
    let site = Site::new(8)?;
    let id = site.start(&site.input(20)?)?;
    site.task(&id, ended)?;
    let api = site.broker.api()?;
    let listed = api.get(&format!("/thing-registration-tasks/{id}/reports?reportType=RESULTS")).await?;
    ensure!(listed["reportType"] == "RESULTS", "{listed}");
    let link = listed["resourceLinks"][0].as_str().context("no link")?;
    let open = link.strip_prefix(&site.broker.api_url()).context("a link to somewhere else")?;
    let fetched = api.open(open).await?;
    ensure!(fetched.status == 200, "{fetched:?}");
    let text = fetched.body.as_str().context("not lines")?;
    assert_eq!(text.lines().count(), 18);
    let (before, signature) = open.split_once("signature=").context("no signature")?;
    let forged: String = signature.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    for wrong in [
        format!("{before}signature={forged}"),
        before.to_owned(),
        open.replace("RESULTS", "ERRORS"),
        open.replace("RESULTS", "OTHERS"),
        open.replace("expires=1", "expires=2"),
        open.replace(&id, "absent"),
        open.replace(&id, "..%2F..%2Fcredentials"),
    ] {
        let refused = api.open(&wrong).await?;
        ensure!(refused.status == 403, "{wrong}: {refused:?}");
    }
    Ok(())
}

#[test]
fn an_operator_starts_watches_stops_and_reads_a_task() -> anyhow::Result<()> {
    let site = Site::new(1)?;
    let (template, file) = (site.desk.path().join("template.json"), site.desk.path().join("few.jsonl"));
    std::fs::write(&file, site.input(10)?)?;
    let (template, file) = (path(&template)?, path(&file)?);
    let followed =
        site.broker.run(&["bulk", "start", "--template", template, "--input", file, "--follow"])?;
    ensure!(followed.code == Some(2), "a line has failed: {followed:?}");
    for part in ["Completed", "100 %", "provisioned  9", "failed       1", "--errors"] {
        ensure!(followed.stdout.contains(part), "{}", followed.stdout);
    }
    let tasks = site.broker.ask(&["bulk", "list"])?;
    let id = tasks[0]["taskId"].as_str().context("no task")?.to_owned();
    assert_eq!(numbers(&site.report(&id, "--errors")?), [10]);

    let long = site.start(&site.input(1_500)?)?;
    let second = site.broker.run(&["bulk", "start", "--template", template, "--input", file])?;
    ensure!(second.code == Some(3) && second.stderr.contains(&long), "one at a time: {second:?}");
    site.broker.ask(&["bulk", "stop", &long])?;
    let stopped = site.task(&long, ended)?;
    ensure!(stopped["status"] == "Cancelled" && done(&stopped) < 1_500, "{stopped:#}");
    let reported = site.report(&long, "--results")?.len() + site.report(&long, "--errors")?.len();
    assert_eq!(reported as u64, done(&stopped));

    let bucket = site.broker.data_dir().join("bulk/input/plant-a");
    std::fs::create_dir_all(&bucket)?;
    std::fs::write(bucket.join("day.jsonl"), site.input(3)?)?;
    let started = ["bulk", "start", "--template", template, "--input", "plant-a/day.jsonl", "--follow"];
    ensure!(site.broker.run(&started)?.code == Some(0));
    ensure!(bucket.join("day.jsonl").exists(), "what is not in the bucket once stays");
    let absent = site.broker.run(&["bulk", "start", "--template", template, "--input", "plant-a/absent"])?;
    ensure!(absent.code == Some(3) && absent.stderr.contains("plant-a/absent"), "{absent:?}");
    Ok(())
}

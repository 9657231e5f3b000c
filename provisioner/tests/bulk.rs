//! Registration tasks: every line once, in its report, in order, whatever happens on the way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use jitp_provisioner::bulk::{ReportType, StartTask, Task, TaskStatus};
use jitp_provisioner::registry::RegisterCertificate;
use jitp_provisioner::{Options, RegistryError};
use serde_json::{Value, json};
use std::io::Read;
use std::time::{Duration, Instant};
use support::{ALLOW_ALL, Device, Site, all, authority, policy};

const TEMPLATE: &str = r#"{
  "Parameters": { "ThingName": {"Type": "String"}, "Line": {"Type": "String", "Default": "none"} },
  "Resources": { "thing": { "Type": "AWS::IoT::Thing", "Properties": {
    "ThingName": {"Ref": "ThingName"}, "AttributePayload": {"line": {"Ref": "Line"}} } } } }"#;

fn request(template: &str, key: &str) -> StartTask {
    StartTask {
        template_body: template.into(),
        bucket: "plant-a".into(),
        key: key.into(),
        role_arn: "arn:aws:iam::000000000000:role/bulk".into(),
        region: "eu-north-1".into(),
    }
}

fn put(site: &Site, key: &str, text: &str) {
    let path = site.provisioner.registration_tasks().directory().join("plant-a").join(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

async fn start(site: &Site, template: &str, text: &str) -> String {
    put(site, "input.json", text);
    site.provisioner.registration_tasks().start(request(template, "input.json")).await.unwrap()
}

/// Waits until a task is as wanted.
async fn task(site: &Site, id: &str, wanted: impl Fn(&Task) -> bool) -> Task {
    let started = Instant::now();
    loop {
        let task = site.provisioner.registration_tasks().describe(id).await.unwrap();
        if wanted(&task) {
            return task;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{task:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ended(site: &Site, id: &str) -> Task {
    task(site, id, |task| !task.status.is_running()).await
}

async fn report(site: &Site, id: &str, report: ReportType) -> Vec<Value> {
    let tasks = site.provisioner.registration_tasks();
    let Some(link) = tasks.report_link(id, report).await.unwrap() else { return Vec::new() };
    let opened = tasks.open_report(&link).await.unwrap().unwrap();
    let mut text = String::new();
    opened.file.take(opened.bytes).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn many(count: usize) -> String {
    (0..count).map(|number| format!("{{\"ThingName\":\"bulk-{number:05}\"}}\n")).collect()
}

#[tokio::test]
async fn every_line_is_in_one_report_with_where_it_stood_and_one_that_fails_stops_no_other() {
    let site = Site::new().await;
    let input = "{\"ThingName\":\"a\",\"Line\":\"7\"}\r\n\n{\"ThingName\":\"not a name\"}\n{\"Line\":\"7\"}\nnonsense\n\
                 {\"ThingName\":\"b\",\"Unused\":\"x\",\"AWS::IoT::Certificate::Id\":\"x\"}";
    let id = start(&site, TEMPLATE, input).await;
    let done = ended(&site, &id).await;
    assert_eq!(
        (done.status, done.succeeded, done.failed, done.percentage, done.message),
        (TaskStatus::Completed, 2, 3, 100, None)
    );
    let arn = |name: &str| format!("arn:aws:iot:eu-north-1:000000000000:thing/{name}");
    let last = input.rfind("{\"ThingName\":\"b\"").unwrap();
    assert_eq!(
        report(&site, &id, ReportType::Results).await,
        [
            json!({"lineId": 1, "offset": 0, "response": {"resourceArns": {"thing": arn("a")}}}),
            json!({"lineId": 6, "offset": last, "response": {"resourceArns": {"thing": arn("b")}}}),
        ]
    );
    let errors = report(&site, &id, ReportType::Errors).await;
    let shown: Vec<_> =
        errors.iter().map(|e| (e["lineId"].as_u64().unwrap(), e["errorCode"].as_str())).collect();
    assert_eq!(shown, [3, 4, 5].map(|line| (line, Some("InvalidRequest"))));
    for (error, part) in errors.iter().zip(["ThingName", "\"ThingName\"", "not JSON"]) {
        assert!(error["errorMessage"].as_str().unwrap().contains(part), "{error}");
    }
    assert_eq!(site.thing("a").await.unwrap().attributes.len(), 1);
}

#[tokio::test]
async fn certificates_policies_and_attachments_come_with_their_line_or_not_at_all() {
    let site = Site::new().await;
    let ca = authority("Plant");
    site.register(&ca, None).await;
    site.create_policy("device", ALLOW_ALL).await;
    let template = r#"{"Parameters":{"ThingName":{"Type":"String"},"Pem":{"Type":"String"},"Policy":{"Type":"String"}},
      "Resources":{"gw":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"ThingName"}}},
        "cert":{"Type":"AWS::IoT::Certificate","Properties":{"CertificatePem":{"Ref":"Pem"},"Status":"ACTIVE"}},
        "pol":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":{"Ref":"Policy"}}}}}"#;
    let (good, bad) = (Device::new(&ca, "good"), Device::new(&ca, "bad"));
    let line = |device: &Device, policy: &str| {
        json!({"ThingName": device.name, "Pem": device.pem, "Policy": policy}).to_string()
    };
    let id = start(&site, template, &[line(&good, "device"), line(&bad, "absent")].join("\n")).await;
    let done = ended(&site, &id).await;
    assert_eq!((done.status, done.succeeded, done.failed), (TaskStatus::Completed, 1, 1));
    let [result] = &report(&site, &id, ReportType::Results).await[..] else { panic!("not one result") };
    assert_eq!(result["response"]["certificatePem"].as_str().unwrap().trim(), good.pem.trim());
    let names: Vec<&str> =
        result["response"]["resourceArns"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["cert", "gw", "pol"]);
    assert_eq!(site.things_of(&good).await, ["good"]);
    assert_eq!(site.policies_of(&good).await, ["device"]);
    let [error] = &report(&site, &id, ReportType::Errors).await[..] else { panic!("not one error") };
    assert_eq!(error["errorCode"], "ResourceRegistrationFailure");
    assert!(error["errorMessage"].as_str().unwrap().contains("absent"), "{error}");
    assert!(site.certificate(&bad).await.is_none() && site.thing("bad").await.is_none());
    assert!(
        site.registry()
            .list_attached_policies(&jitp_provisioner::records::PolicyTarget::Certificate(good.id), &all())
            .await
            .unwrap()
            .items
            == [policy("device")]
    );
    // It is known now: the same line again changes nothing and succeeds.
    let again = RegisterCertificate {
        certificate: good.pem.clone(),
        of_ca: true,
        ca_certificate: None,
        status: jitp_provisioner::records::CertificateStatus::Active,
    };
    assert!(matches!(
        site.registry().register_certificate(again).await,
        Err(RegistryError::AlreadyExists { .. })
    ));
    let id = start(&site, template, &line(&good, "device")).await;
    assert_eq!(ended(&site, &id).await.succeeded, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_on_where_it_was_when_the_registry_is_opened_again() {
    const LINES: usize = 3_000;
    let mut site = Site::new().await;
    let id = start(&site, TEMPLATE, &many(LINES)).await;
    for part in [1, 500, 1_500] {
        task(&site, &id, |task| task.succeeded >= part).await;
        site = site.reopened(Options::default()).await;
    }
    let done = ended(&site, &id).await;
    assert_eq!((done.status, done.succeeded, done.failed), (TaskStatus::Completed, LINES as u64, 0));
    let results = report(&site, &id, ReportType::Results).await;
    let lines: Vec<u64> = results.iter().map(|line| line["lineId"].as_u64().unwrap()).collect();
    assert_eq!(lines, (1..=LINES as u64).collect::<Vec<_>>(), "in the order of the input, each once");
    for number in [0, LINES - 1] {
        assert_eq!(site.thing(&format!("bulk-{number:05}")).await.unwrap().version, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_stopped_reports_what_it_did_and_does_no_more() {
    let site = Site::new().await;
    let tasks = site.provisioner.registration_tasks();
    let id = start(&site, TEMPLATE, &many(20_000)).await;
    task(&site, &id, |task| task.succeeded > 0).await;
    tasks.stop(&id).await.unwrap();
    let done = ended(&site, &id).await;
    assert_eq!(done.status, TaskStatus::Cancelled);
    assert!(done.succeeded < 20_000, "{done:?}");
    let results = report(&site, &id, ReportType::Results).await;
    assert_eq!(results.len() as u64, done.succeeded);
    let mut made = 0;
    let mut request = all();
    loop {
        let page = site.registry().list_things(&Default::default(), &request).await.unwrap();
        made += page.items.len();
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    assert_eq!(made, results.len(), "what was done is what is reported");
    assert!(matches!(tasks.stop(&id).await, Err(RegistryError::InvalidRequest(_))));
    assert!(matches!(tasks.stop("absent").await, Err(RegistryError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_task_runs_at_a_time_unless_more_are_allowed() {
    let site = Site::new().await;
    let tasks = site.provisioner.registration_tasks();
    let first = start(&site, TEMPLATE, &many(5_000)).await;
    let refused = tasks.start(request(TEMPLATE, "input.json")).await.unwrap_err();
    assert!(matches!(&refused, RegistryError::InvalidRequest(m) if m.contains(&first)), "{refused}");
    tasks.stop(&first).await.unwrap();
    ended(&site, &first).await;
    // Tasks are listed by when they were started.
    site.pass(1);
    let second = start(&site, TEMPLATE, &many(1)).await;
    ended(&site, &second).await;
    assert_eq!(tasks.list(None, &all()).await.unwrap().items, [first.clone(), second.clone()]);
    assert_eq!(tasks.list(Some(TaskStatus::Cancelled), &all()).await.unwrap().items, [first]);
    let site = site.reopened(Options { registration_tasks: 2, ..Options::default() }).await;
    put(&site, "one.json", &many(2_000));
    put(&site, "two.json", &many(2_000));
    let tasks = site.provisioner.registration_tasks();
    // The same things, by two tasks at once: each line succeeds, whoever is first.
    let one = tasks.start(request(TEMPLATE, "one.json")).await.unwrap();
    let two = tasks.start(request(TEMPLATE, "two.json")).await.unwrap();
    for id in [one, two] {
        let done = ended(&site, &id).await;
        assert_eq!((done.status, done.succeeded, done.failed), (TaskStatus::Completed, 2_000, 0));
    }
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_refused_at_the_start() {
    let site = Site::new().await;
    let tasks = site.provisioner.registration_tasks();
    put(&site, "input.json", "{}");
    for (template, key, part) in [
        (TEMPLATE, "absent.json", "absent.json"),
        (TEMPLATE, "../input.json", "inputFileKey"),
        ("{}", "input.json", "templateBody"),
        ("nonsense", "input.json", "templateBody"),
    ] {
        let error = tasks.start(request(template, key)).await.unwrap_err();
        assert!(matches!(&error, RegistryError::InvalidRequest(m) if m.contains(part)), "{error}");
    }
    assert!(tasks.list(None, &all()).await.unwrap().items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_was_changed_between_two_starts_fails_the_task_and_says_so() {
    let site = Site::new().await;
    let id = start(&site, TEMPLATE, &many(5_000)).await;
    task(&site, &id, |task| task.succeeded > 0).await;
    let directory = site.provisioner.registration_tasks().directory().to_owned();
    site.provisioner.close().await.unwrap();
    std::fs::write(directory.join("plant-a/input.json"), "{}").unwrap();
    let site = site.reopened(Options::default()).await;
    let failed = ended(&site, &id).await;
    assert_eq!(failed.status, TaskStatus::Failed);
    assert!(failed.message.unwrap().contains("changed"));
    assert_eq!(report(&site, &id, ReportType::Results).await.len() as u64, failed.succeeded);
}

#[tokio::test]
async fn tasks_that_ended_long_ago_are_forgotten_with_their_reports() {
    let site = Site::new().await;
    let id = start(&site, TEMPLATE, &many(3)).await;
    ended(&site, &id).await;
    let reports = site.directory.path().join("bulk/reports").join(&id);
    assert!(reports.join("results.jsonl").exists());
    std::fs::create_dir(site.directory.path().join("bulk/reports/of-no-task")).unwrap();
    site.pass(31 * 24 * 3600 * 1000);
    let site = site.reopened(Options::default()).await;
    let started = Instant::now();
    while site.provisioner.registration_tasks().describe(&id).await.is_ok()
        || site.directory.path().join("bulk/reports/of-no-task").exists()
    {
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!reports.exists());
}

#[tokio::test]
async fn an_input_in_the_bucket_once_is_removed_after_its_task() {
    let site = Site::new().await;
    let directory = site.provisioner.registration_tasks().directory().join("once");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("x.json"), many(3)).unwrap();
    let start = StartTask { bucket: "once".into(), ..request(TEMPLATE, "x.json") };
    let id = site.provisioner.registration_tasks().start(start).await.unwrap();
    assert_eq!(ended(&site, &id).await.succeeded, 3);
    let started = Instant::now();
    while directory.join("x.json").exists() {
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_a_task_and_leaves_nothing_of_it() {
    let site = Site::new().await;
    let id = start(&site, TEMPLATE, &many(5_000)).await;
    task(&site, &id, |task| task.succeeded > 0).await;
    site.provisioner.reset(&Default::default()).await.unwrap();
    let tasks = site.provisioner.registration_tasks();
    assert!(matches!(tasks.describe(&id).await, Err(RegistryError::NotFound { .. })));
    let site = site.reopened(Options::default()).await;
    let tasks = site.provisioner.registration_tasks();
    assert!(matches!(tasks.describe(&id).await, Err(RegistryError::NotFound { .. })));
    let things = site.registry().list_things(&Default::default(), &all()).await.unwrap();
    assert!(things.items.is_empty(), "{} things came after the reset", things.items.len());
}

//! The command line as people and scripts meet it: what it prints, and how it exits.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::{Context, ensure};
use jitp_tests::{
    Broker, BrokerOptions, Factory, Finished, POLICY, Plant, TEMPLATE, Wire, edited, eventually,
};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

type Run<'a> = dyn Fn(&[&str]) -> anyhow::Result<Finished> + 'a;

/// Commands with what they answered, as a person would see them.
struct Transcript<'a> {
    text: String,
    run: Box<Run<'a>>,
}

impl<'a> Transcript<'a> {
    fn new(run: impl Fn(&[&str]) -> anyhow::Result<Finished> + 'a) -> Self {
        Self { text: String::new(), run: Box::new(run) }
    }

    fn run(&mut self, arguments: &[&str]) -> anyhow::Result<Finished> {
        let finished = (self.run)(arguments)?;
        let shown: Vec<String> = arguments
            .iter()
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() })
            .collect();
        self.text.push_str(&format!("$ jitp {}\n{}", shown.join(" "), finished.stdout));
        for line in finished.stderr.lines() {
            self.text.push_str(&format!("! {line}\n"));
        }
        self.text
            .push_str(&format!("→ {}\n\n", finished.code.map_or("killed".into(), |code| code.to_string())));
        Ok(finished)
    }

    /// Compares with the snapshot, after what differs from run to run has been replaced.
    fn check(&self, name: &str, directories: &[&Path]) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        for directory in directories {
            settings.add_filter(&directory.display().to_string(), "DIR");
        }
        settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME");
        settings
            .add_filter(r#""([a-zA-Z]*(Date|notBefore|notAfter|timestamp))": [0-9.]+"#, r#""$1": "TIME""#);
        settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID");
        settings.add_filter(r"\b[0-9a-f]{64}\b", "ID");
        settings.add_filter(r"certificate [0-9a-f]{12}\b", "certificate ID");
        settings.add_filter(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", "PEM");
        settings.add_filter(r"PROVISIONED, REGISTERED_PENDING_ACTIVATION, .*", "CODES");
        settings.add_filter(r"127\.0\.0\.1:\d+", "ADDRESS");
        settings.add_filter(r"localhost:\d+", "localhost:PORT");
        settings.add_filter(r"--port \d+", "--port PORT");
        settings.add_filter(r#""(durationMicros|sourcePort|sequence)": \d+"#, r#""$1": "NUMBER""#);
        settings.bind(|| insta::assert_snapshot!(name, self.text));
    }
}

#[test]
fn commands_that_need_no_broker() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
    file("template.json", TEMPLATE)?;
    file("policy.json", POLICY)?;
    file(
        "broken-template.json",
        r#"{"Parameters":{"X":{"Type":"Number"}},"Resources":{"a":{"Type":"AWS::IoT::Robot"}},"Extra":1}"#,
    )?;
    file(
        "broken-policy.json",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Perhaps","Action":"iot:Connect","Resource":"*"}]}"#,
    )?;
    let demanding = edited(|t| {
        t["Parameters"]["AWS::IoT::Certificate::Country"] = json!({ "Type": "String" });
        t["Parameters"]["AWS::IoT::Certificate::Organization"] = json!({ "Type": "String" });
    })?;
    file("demanding.json", &demanding)?;
    let mut transcript = Transcript::new(|arguments| Finished::of(directory.path(), arguments));
    for arguments in [
        &["ca", "create", "--name", "Plant A CA"][..],
        &["ca", "create", "--name", "Plant A CA"],
        &[
            "--json",
            "ca",
            "create",
            "--name",
            "Plant B CA",
            "--cert",
            "b.pem",
            "--key",
            "b.key",
            "--key-type",
            "p384",
        ],
        &["template", "check", "template.json"],
        &["--json", "template", "check", "template.json"],
        &["template", "check", "broken-template.json"],
        &["template", "check", "missing.json"],
        &["policy", "check", "policy.json"],
        &["--json", "policy", "check", "policy.json"],
        &["policy", "check", "broken-policy.json"],
        &["device", "create", "--name", "pump-0042", "--subject", "OU=line-7"],
        &["--json", "device", "create", "--name", "Blue Gate Ltd", "--cert", "gate.pem", "--key", "gate.key"],
        &["device", "create", "--name", "x", "--subject", "L=here"],
        &["simulate", "--template", "template.json", "--certificate", "pump-0042.pem"],
        &["--json", "simulate", "--template", "template.json", "--certificate", "pump-0042.pem"],
        &["simulate", "--template", "template.json", "--certificate", "gate.pem"],
        &["simulate", "--template", "demanding.json", "--certificate", "pump-0042.pem"],
        &["--json", "simulate", "--template", "demanding.json", "--certificate", "pump-0042.pem"],
        &["simulate", "--template", "broken-template.json", "--certificate", "pump-0042.pem"],
        &["simulate", "--template", "template.json", "--certificate", "pump-0042.key"],
        &["thing", "list"],
        &["thing", "list", "--api", "not a url"],
    ] {
        transcript.run(arguments)?;
    }
    for key in ["ca.key", "b.key", "pump-0042.key", "gate.key"] {
        let mode = std::fs::metadata(directory.path().join(key))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    transcript.check("commands_that_need_no_broker", &[directory.path()]);
    Ok(())
}

/// What an operator does in a day, for people and as JSON.
async fn day(json: bool, name: &str) -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("template.json"), TEMPLATE)?;
    std::fs::write(path("policy.json"), POLICY)?;
    let (ca, key, template, policy) =
        (path("ca.pem"), path("ca.key"), path("template.json"), path("policy.json"));
    let (pem, pem_key) = (path("pump-0042.pem"), path("pump-0042.key"));
    let port = broker.mqtt().port().to_string();
    let api = broker.api_url();
    let mut transcript = Transcript::new(|arguments| {
        let json = json.then_some("--json");
        broker.run(&json.into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>())
    });
    for arguments in [
        &["thing", "list"][..],
        &["cert", "list"],
        &["ca", "list"],
        &["template", "list"],
        &["policy", "list"],
        &["attempts"],
    ] {
        transcript.run(arguments)?;
    }
    transcript.run(&["policy", "create", "device", "--document", &policy])?;
    transcript.run(&["policy", "create", "device", "--document", &template])?;
    transcript.run(&["template", "create", "plant-a", "--body", &template, "--description", "Plant A"])?;
    transcript.run(&["template", "create", "plant-a", "--body", &template])?;
    transcript.run(&["ca", "create", "--name", "Plant A CA", "--cert", &ca, "--key", &key])?;
    transcript.run(&["ca", "register", "--cert", &ca])?;
    transcript.run(&["ca", "register", "--cert", &ca, "--key", &key, "--template", "absent"])?;
    transcript.run(&["ca", "register", "--cert", &ca, "--key", &key, "--template", "plant-a"])?;
    transcript.run(&["ca", "register", "--cert", &ca, "--key", &key, "--template", "plant-a"])?;
    transcript.run(&["ca", "list"])?;
    let device = ["--ca-cert", &ca, "--ca-key", &key, "--cert", &pem, "--key", &pem_key];
    transcript.run(&[&["device", "create", "--name", "pump-0042"][..], &device].concat())?;
    transcript.run(&["simulate", "--template", &template, "--certificate", &pem, "--against", &api])?;
    let connect = ["device", "connect", "--cert", &pem, "--key", &pem_key, "--port", &port];
    let own = ["--subscribe", "devices/pump-0042/#", "--publish", "devices/pump-0042/telemetry=hello"];
    transcript.run(&[&connect[..], &own].concat())?;
    transcript.run(&[&connect[..], &["--publish", "devices/other/telemetry=hello"]].concat())?;
    transcript.run(&[&connect[..], &["--client-id", "another"]].concat())?;
    transcript.run(&["thing", "list"])?;
    transcript.run(&["thing", "list", "--attribute", "line=unsorted"])?;
    transcript.run(&["thing", "list", "--attribute", "line=none"])?;
    transcript.run(&["thing", "show", "pump-0042"])?;
    transcript.run(&["thing", "show", "absent"])?;
    transcript.run(&["cert", "list"])?;
    let certificate = jitp_certs_id(&pem)?;
    let authority = jitp_certs_id(&ca)?;
    let arn = format!("arn:aws:iot:us-east-1:000000000000:cert/{certificate}");
    transcript.run(&["cert", "list", "--ca", &authority])?;
    transcript.run(&["cert", "show", &certificate])?;
    transcript.run(&["ca", "show", &authority])?;
    transcript.run(&["ca", "budget", &authority])?;
    transcript.run(&["ca", "budget", &authority, "--runs", "100", "--rate", "5"])?;
    transcript.run(&["ca", "show", &authority])?;
    transcript.run(&["ca", "budget", &authority, "--unlimited", "--default-rate"])?;
    transcript.run(&["ca", "budget", &authority, "--runs", "1", "--unlimited"])?;
    transcript.run(&["ca", "budget", &"0".repeat(64), "--runs", "1"])?;
    transcript.run(&["template", "list"])?;
    transcript.run(&["template", "show", "plant-a"])?;
    transcript.run(&["policy", "list"])?;
    transcript.run(&["policy", "show", "device"])?;
    transcript.run(&["policy", "update", "device", "--document", &policy])?;
    transcript.run(&["policy", "delete", "device"])?;
    transcript.run(&["policy", "detach", "device", &arn])?;
    transcript.run(&["policy", "attach", "device", &arn])?;
    transcript.run(&["cert", "deactivate", &certificate])?;
    transcript.run(&[&connect[..], &["--subscribe", "devices/pump-0042/#"]].concat())?;
    transcript.run(&["cert", "activate", &certificate])?;
    transcript.run(&["cert", "revoke", &certificate])?;
    transcript.run(&["cert", "activate", &certificate])?;
    transcript.run(&["ca", "deactivate", &authority])?;
    transcript.run(&["ca", "activate", &authority])?;
    broker.attempts(&certificate, 2)?;
    transcript.run(&["attempts"])?;
    transcript.run(&["attempts", "--outcome", "provisioned", "--client-id", "pump-0042"])?;
    transcript.run(&["attempts", "--reason", "NO_SUCH_REASON"])?;
    transcript.check(name, &[directory.path(), broker.data_dir()]);
    Ok(())
}

fn jitp_certs_id(pem: &str) -> anyhow::Result<String> {
    Ok(jitp_certs::Certificate::from_pem(&std::fs::read_to_string(pem)?)?.id().to_string())
}

#[tokio::test]
async fn an_operators_day_for_people() -> anyhow::Result<()> {
    day(false, "an_operators_day_for_people").await
}

#[tokio::test]
async fn an_operators_day_as_json() -> anyhow::Result<()> {
    day(true, "an_operators_day_as_json").await
}

#[test]
fn a_wrong_command_line_is_invalid_input_and_help_is_not_an_error() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let code = |arguments: &[&str]| Finished::of(directory.path(), arguments).map(|finished| finished.code);
    assert_eq!(code(&[])?, Some(3));
    assert_eq!(code(&["--help"])?, Some(0));
    assert_eq!(code(&["--version"])?, Some(0));
    assert_eq!(code(&["serve", "--no-such-option"])?, Some(3));
    assert_eq!(code(&["no-such-command"])?, Some(3));
    assert_eq!(code(&["serve", "--mqtt", "not an address"])?, Some(3));
    assert_eq!(code(&["attempts", "--limit", "0"])?, Some(3));
    Ok(())
}

#[test]
fn nobody_at_the_api_is_an_error_that_says_what_to_check() -> anyhow::Result<()> {
    let mut broker = Broker::start()?;
    let api = broker.api_url();
    broker.terminate()?;
    let finished = broker.run(&["thing", "list", "--api", &api])?;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("is `jitp serve` running?"), "{}", finished.stderr);
    Ok(())
}

#[test]
fn a_wrong_access_key_is_refused_and_not_shown() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let credentials =
        "[default]\naws_access_key_id = AKIAWRONGWRONGWRONG0\naws_secret_access_key = topsecret-topsecret\n";
    let elsewhere = tempfile::tempdir()?;
    std::fs::write(elsewhere.path().join("credentials"), credentials)?;
    let directory = elsewhere.path().display().to_string();
    let finished = Finished::of(
        elsewhere.path(),
        &["thing", "list", "--data-dir", &directory, "--api", &broker.api_url()],
    )?;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(!finished.stderr.contains("topsecret"), "{}", finished.stderr);
    assert!(!broker.log().contains("topsecret"), "{}", broker.log());
    Ok(())
}

#[test]
fn completions_exist_for_every_shell_and_so_does_the_manual_page() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Finished::of(directory.path(), &["completions", shell])?;
        assert!(script.code == Some(0) && script.stdout.contains("COMPLETE"), "{shell}: {script:?}");
    }
    let page = Finished::of(directory.path(), &["man"])?;
    assert!(page.code == Some(0) && page.stdout.contains(".TH jitp"), "{page:?}");
    Ok(())
}

#[test]
fn the_printed_configuration_is_accepted_as_a_configuration() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let printed = Finished::of(directory.path(), &["config"])?;
    assert_eq!(printed.code, Some(0));
    Broker::start_with(BrokerOptions::config(&printed.stdout)).map(|_| ())
}

#[test]
fn an_unknown_key_of_the_configuration_is_invalid_input_that_names_the_nearest_known_one()
-> anyhow::Result<()> {
    let refused = Broker::refused(BrokerOptions::config("[broker]\nmax_conections = 3\n"))?;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(
        refused.stderr.contains("max_conections") && refused.stderr.contains("max_connections"),
        "{refused:?}"
    );
    let refused = Broker::refused(BrokerOptions::config("[broker]\nmax_connections = \"many\"\n"))?;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let refused = Broker::refused(BrokerOptions::arguments(&["--account", "12"]))?;
    assert!(refused.code == Some(3) && refused.stderr.contains("12 digits"), "{refused:?}");
    Ok(())
}

#[test]
fn account_and_region_are_fixed_at_the_first_start() -> anyhow::Result<()> {
    let options = BrokerOptions::arguments(&["--account", "123456789012", "--region", "eu-central-1"]);
    let mut broker = Broker::start_with(options)?;
    let policy = broker.data_dir().join("policy.json");
    std::fs::write(&policy, POLICY)?;
    let policy = policy.display().to_string();
    let created =
        broker.ask(&["policy", "create", "device", "--document", &policy, "--region", "eu-central-1"])?;
    assert_eq!(created["policyArn"], "arn:aws:iot:eu-central-1:123456789012:policy/device");
    assert_eq!(broker.terminate()?, Some(0));
    let with = |arguments: &[&str]| BrokerOptions {
        data_dir: Some(broker.data_dir().to_owned()),
        ..BrokerOptions::arguments(arguments)
    };
    for arguments in [
        &["--account", "123456789012", "--region", "us-east-1"][..],
        &["--account", "000000000000", "--region", "eu-central-1"],
    ] {
        let refused = Broker::refused(with(arguments))?;
        assert!(matches!(refused.code, Some(1 | 3)), "{refused:?}");
        assert!(
            refused.stderr.contains("123456789012") || refused.stderr.contains("eu-central-1"),
            "{refused:?}"
        );
    }
    Broker::start_with(with(&["--account", "123456789012", "--region", "eu-central-1"])).map(|_| ())
}

#[test]
fn a_job_brings_its_own_access_key() -> anyhow::Result<()> {
    let key = [("JITP_ACCESS_KEY_ID", "AKIACIJOB"), ("JITP_SECRET_ACCESS_KEY", "a-secret-of-the-job")];
    let environment = key.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let broker = Broker::start_with(BrokerOptions { environment, ..BrokerOptions::default() })?;
    assert_eq!(broker.ask(&["thing", "list"])?, json!([]));
    let credentials = broker.data_dir().join("credentials");
    assert!(std::fs::read_to_string(&credentials)?.contains("AKIACIJOB"));
    let alone = vec![("JITP_ACCESS_KEY_ID".to_owned(), "AKIACIJOB".to_owned())];
    let refused = Broker::refused(BrokerOptions { environment: alone, ..BrokerOptions::default() })?;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("JITP_SECRET_ACCESS_KEY is not"), "{refused:?}");
    Ok(())
}

#[test]
fn what_is_secret_is_readable_by_its_owner_only() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let mode = |name: &str| -> anyhow::Result<u32> {
        Ok(std::fs::metadata(broker.data_dir().join(name))?.permissions().mode() & 0o777)
    };
    for file in ["credentials", "server.key", "server-ca.key", "issuing-ca.key"] {
        assert_eq!(mode(file)?, 0o600, "{file}");
    }
    assert_eq!(mode("")?, 0o700);
    assert_eq!(mode("registry")?, 0o700);
    let secret = std::fs::read_to_string(broker.data_dir().join("credentials"))?;
    let secret =
        secret.lines().find_map(|line| line.strip_prefix("aws_secret_access_key = ")).context("none")?;
    assert!(!broker.log().contains(secret));
    Ok(())
}

#[tokio::test]
async fn sigterm_says_goodbye_to_the_clients_and_exits_with_0() -> anyhow::Result<()> {
    let mut plant = Plant::new()?;
    let (mut wire, answer) =
        Wire::connect5(&plant.broker, &*plant.factory.device("staying")?, "staying").await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    assert_eq!(plant.broker.terminate()?, Some(0), "{}", plant.broker.log());
    let goodbye = wire.receive().await?.context("closed without DISCONNECT")?;
    assert_eq!((goodbye.kind(), goodbye.body.first()), (14, Some(&0x8b)), "{goodbye:?}");
    let plant = plant.restart()?;
    plant.broker.ask(&["thing", "show", "staying"]).map(|_| ())
}

#[tokio::test]
async fn following_the_attempts_prints_each_as_it_happens() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let people = broker.spawn(&["attempts", "--follow"])?;
    let machines =
        broker.spawn(&["--json", "attempts", "--follow", "--reason", "DEVICE_CERTIFICATE_NOT_REGISTERED"])?;
    let strangers = Factory::new("Nobody")?;
    // When the followers have begun to follow is theirs to know: strangers come until both have seen one.
    let (mut seen, mut number) = ((None, None), 0);
    while seen.0.is_none() || seen.1.is_none() {
        ensure!(number < 500, "the followers see nothing");
        let name = format!("stranger-{number}");
        number += 1;
        let (_, answer) = Wire::connect(&broker, &*strangers.device(&name)?, &name).await?;
        ensure!(answer.connack_code()? == 5, "{answer:?}");
        seen.0 = seen.0.or_else(|| people.line_at_hand());
        seen.1 = seen.1.or_else(|| machines.line_at_hand());
    }
    let line = seen.0.unwrap_or_default();
    assert!(line.contains("DEVICE_CERTIFICATE_NOT_REGISTERED") && line.contains("stranger-"), "{line}");
    let attempt: serde_json::Value = serde_json::from_str(&seen.1.unwrap_or_default())?;
    assert_eq!(attempt["reason"], "DEVICE_CERTIFICATE_NOT_REGISTERED");
    assert!(attempt["clientId"].as_str().is_some_and(|id| id.starts_with("stranger-")), "{attempt:#}");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_against_a_broker_changes_nothing_and_comes_true() -> anyhow::Result<()> {
    let plant = Plant::new()?;
    let device = plant.factory.device("dry")?;
    let template = plant.factory.file("dry.json", TEMPLATE)?.display().to_string();
    let (pem, api) = (device.certificate_file.display().to_string(), plant.broker.api_url());
    let simulate = ["simulate", "--template", &template, "--certificate", &pem, "--against", &api];
    let first = plant.broker.ask(&simulate)?;
    assert_eq!(plant.broker.run(&["thing", "show", "dry"])?.code, Some(3), "{first:#}");
    assert_eq!(plant.broker.run(&["cert", "show", &device.id()])?.code, Some(3));
    let failing = plant.factory.file(
        "failing.json",
        &edited(|t| {
            t["Resources"]["policy"]["Properties"]["PolicyName"] = json!("absent");
        })?,
    )?;
    let failing = failing.display().to_string();
    let refused =
        plant.broker.run(&["simulate", "--template", &failing, "--certificate", &pem, "--against", &api])?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stdout.contains("absent"), "{refused:?}");
    let (_wire, answer) = Wire::connect(&plant.broker, &device, "dry").await?;
    ensure!(answer.connack_code()? == 0, "{answer:?}");
    eventually("the thing", || async { Ok(plant.broker.ask(&["thing", "show", "dry"]).ok()) }).await?;
    let second = plant.broker.run(&simulate)?;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(second.stdout.contains("dry"), "{second:?}");
    Ok(())
}

//! Who may call the API, what is remembered of it, and over what.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::ensure;
use jitp_tests::{Broker, BrokerOptions, Finished};
use serde_json::Value;

/// A key of a role, as environment variables for `jitp`.
fn key_of(broker: &Broker, role: &str) -> anyhow::Result<(String, String)> {
    let key = broker.run(&["key", "create", "--role", role, "--description", "tests", "--json"])?.json()?;
    let text = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
    Ok((text("accessKeyId"), text("secretAccessKey")))
}

fn run_as(broker: &Broker, (id, secret): &(String, String), arguments: &[&str]) -> anyhow::Result<Finished> {
    broker.run_with(arguments, &[("JITP_ACCESS_KEY_ID", id), ("JITP_SECRET_ACCESS_KEY", secret)])
}

#[test]
fn a_viewers_key_reads_changes_nothing_and_ends_when_it_is_deactivated() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let viewer = key_of(&broker, "viewer")?;
    ensure!(run_as(&broker, &viewer, &["thing", "list"])?.code == Some(0));
    let refused = run_as(&broker, &viewer, &["key", "list"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(
        refused.stderr.contains("UnauthorizedException") && refused.stderr.contains("\"administer\""),
        "{refused:?}"
    );
    ensure!(!refused.stderr.contains(&viewer.1), "{refused:?}");

    let list = broker.run(&["key", "list"])?;
    ensure!(list.stdout.contains(&viewer.0) && list.stdout.contains("of the data directory"), "{list:?}");
    ensure!(!list.stdout.contains(&viewer.1), "{list:?}");

    ensure!(broker.run(&["key", "deactivate", &viewer.0])?.code == Some(0));
    let refused = run_as(&broker, &viewer, &["thing", "list"])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("inactive"), "{refused:?}");
    ensure!(broker.run(&["key", "activate", &viewer.0])?.code == Some(0));
    ensure!(run_as(&broker, &viewer, &["thing", "list"])?.code == Some(0));
    ensure!(broker.run(&["key", "delete", &viewer.0])?.code == Some(0));
    ensure!(run_as(&broker, &viewer, &["thing", "list"])?.code == Some(1));
    ensure!(!broker.log().contains(&viewer.1), "the log shows a secret");
    Ok(())
}

#[test]
fn keys_and_the_audit_log_survive_a_kill() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let operator = key_of(&broker, "operator")?;
    let mut broker = broker;
    broker.kill()?;
    let broker = broker.restart()?;
    ensure!(run_as(&broker, &operator, &["thing", "list"])?.code == Some(0));
    let records = broker.run(&["audit", "--json"])?.json()?;
    ensure!(records[0]["operation"] == "CreateAccessKey", "{records}");
    ensure!(records[0]["resources"]["accessKeyId"] == operator.0.as_str(), "{records}");
    ensure!(!records.to_string().contains(&operator.1), "{records}");
    Ok(())
}

#[test]
fn the_audit_log_is_followed_and_filtered() -> anyhow::Result<()> {
    let broker = Broker::start()?;
    let following = broker.spawn(&["audit", "--follow", "--since", "1h", "--json"])?;
    let (id, _) = key_of(&broker, "viewer")?;
    let record: Value = serde_json::from_str(&following.line()?)?;
    ensure!(record["operation"] == "CreateAccessKey" && record["sourceIp"] == "127.0.0.1", "{record}");
    ensure!(broker.run(&["key", "delete", &id])?.code == Some(0));
    let record: Value = serde_json::from_str(&following.line()?)?;
    ensure!(
        record["operation"] == "DeleteAccessKey" && record["resources"]["accessKeyId"] == id.as_str(),
        "{record}"
    );

    let shown = broker.run(&["audit", "--operation", "DeleteAccessKey"])?;
    ensure!(shown.stdout.lines().count() == 1 && shown.stdout.contains("done"), "{shown:?}");
    let none = broker.run(&["audit", "--since", "2999-01-01T00:00:00Z"])?;
    ensure!(none.stdout == "none\n", "{none:?}");
    let wrong = broker.run(&["audit", "--since", "yesterday"])?;
    ensure!(wrong.code == Some(3) && wrong.stderr.contains("15m"), "{wrong:?}");
    Ok(())
}

#[test]
fn over_https_the_commands_trust_the_ca_of_the_data_directory_and_no_other() -> anyhow::Result<()> {
    let broker = Broker::start_with(BrokerOptions::arguments(&["--api-tls"]))?;
    ensure!(broker.api_url().starts_with("https://"), "{}", broker.api_url());
    let list = broker.run(&["thing", "list"])?;
    ensure!(list.code == Some(0), "{list:?}");
    let other = Broker::start()?;
    let ca = other.data_dir().join("server-ca.pem").display().to_string();
    let refused = broker.run(&["thing", "list", "--api-ca", &ca])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("--api-ca"), "{refused:?}");
    let plain = broker.api_url().replace("https://", "http://");
    ensure!(broker.run(&["thing", "list", "--api", &plain])?.code == Some(1));
    Ok(())
}

#[test]
fn without_tls_the_api_listens_on_loopback_only_unless_it_is_called_insecure() -> anyhow::Result<()> {
    let elsewhere = ["--api", "0.0.0.0:0"];
    let refused = Broker::refused(BrokerOptions::arguments(&elsewhere))?;
    ensure!(refused.code == Some(3), "{refused:?}");
    for way_out in ["--api-tls", "--insecure-api", "loopback"] {
        ensure!(refused.stderr.contains(way_out), "{refused:?}");
    }
    for allowed in ["--insecure-api", "--api-tls"] {
        drop(Broker::start_with(BrokerOptions::arguments(&[&elsewhere[..], &[allowed]].concat()))?);
    }
    Ok(())
}

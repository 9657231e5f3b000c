//! What an operator does from the command line beside provisioning: things, groups, types, tags, searches, questions.
#![allow(clippy::indexing_slicing, reason = "a JSON value indexed by what it lacks gives null")]

use anyhow::ensure;
use jitp_tests::{Broker, Finished, OPEN_TEMPLATE, POLICY, Plant, Shared, Wire, eventually, jitp};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;

static BROKER: Shared<Broker> = Shared::new();

/// Runs commands against the broker of all these tests.
struct Operator(Arc<Broker>);

impl Operator {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(BROKER.get(Broker::start)?))
    }

    fn run(&self, words: &str) -> anyhow::Result<String> {
        let finished = self.0.run(&words.split(' ').collect::<Vec<_>>())?;
        ensure!(finished.code == Some(0), "jitp {words}: {finished:?}");
        Ok(finished.stdout)
    }

    fn ask(&self, words: &str) -> anyhow::Result<Value> {
        self.0.ask(&words.split(' ').collect::<Vec<_>>())
    }
}

#[test]
fn a_thing_is_created_changed_shown_and_deleted() -> anyhow::Result<()> {
    let operator = Operator::new()?;
    operator.run("type create pump --description rotary --searchable line")?;
    operator.run("billing-group create plant-7 --description north")?;
    let arn = operator
        .run("thing create p-1 --type pump --attribute line=7 --attribute bay=2 --billing-group plant-7")?;
    assert_eq!(arn, "arn:aws:iot:us-east-1:000000000000:thing/p-1\n");
    operator.run("thing update p-1 --attribute bay= --attribute row=3")?;
    let thing = operator.ask("thing show p-1")?["thing"].clone();
    assert_eq!((&thing["attributes"], &thing["version"]), (&json!({"line": "7", "row": "3"}), &json!(2)));
    assert_eq!((&thing["thingTypeName"], &thing["billingGroupName"]), (&json!("pump"), &json!("plant-7")));
    assert!(operator.run("billing-group show plant-7")?.contains("p-1"));
    operator.run("thing update p-1 --no-type")?;
    assert_eq!(operator.ask("thing show p-1")?["thing"]["thingTypeName"], Value::Null);
    operator.run("billing-group remove plant-7 p-1")?;
    operator.run("billing-group update plant-7 --description south")?;
    operator.run("billing-group delete plant-7 --yes")?;
    operator.run("thing delete p-1 --yes")?;
    let gone = operator.0.run(&["thing", "show", "p-1"])?;
    assert_eq!(gone.code, Some(3), "{gone:?}");
    assert!(operator.run("type list")?.contains("in use"));
    operator.run("type deprecate pump")?;
    assert_eq!(operator.ask("type show pump")?["thingTypeMetadata"]["deprecated"], json!(true));
    operator.run("type undeprecate pump")?;
    Ok(())
}

#[test]
fn groups_are_trees_of_things_or_the_answer_to_a_query() -> anyhow::Result<()> {
    let operator = Operator::new()?;
    for thing in ["g-1", "g-2"] {
        operator.run(&format!("thing create {thing} --attribute hall=A"))?;
    }
    operator.run("group create plant --description all --attribute city=Ulm")?;
    operator.run("group create hall-a --parent plant")?;
    operator.run("group add hall-a g-1")?;
    assert_eq!(operator.ask("group show hall-a")?["things"], json!(["g-1"]));
    assert_eq!(operator.ask("group list --parent plant")?[0]["groupName"], json!("hall-a"));
    operator.run("group update plant --attribute city= --attribute land=BW")?;
    let attributes = "/group/thingGroupProperties/attributePayload/attributes";
    assert_eq!(operator.ask("group show plant")?.pointer(attributes), Some(&json!({"land": "BW"})));
    operator.run("group remove hall-a g-1")?;

    operator.run("indexing enable --connectivity")?;
    assert!(operator.run("indexing show")?.contains("REGISTRY"));
    operator.run("group create of-hall-a --query attributes.hall:A")?;
    assert_eq!(operator.ask("group show of-hall-a")?["things"], json!(["g-1", "g-2"]));
    operator.run("group update of-hall-a --query thingName:g-2")?;
    assert_eq!(operator.ask("group show of-hall-a")?["things"], json!(["g-2"]));
    let found = operator.ask("search attributes.hall:A --limit 1")?;
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert!(operator.run("search thingName:g-*")?.contains("hall=A"));
    for group in ["of-hall-a", "hall-a", "plant"] {
        operator.run(&format!("group delete {group} -y"))?;
    }
    assert_eq!(operator.0.run(&["group", "show", "plant"])?.code, Some(3));
    Ok(())
}

#[test]
fn tags_events_and_the_endpoint_are_at_hand() -> anyhow::Result<()> {
    let operator = Operator::new()?;
    operator.run("group create tagged")?;
    let arn =
        operator.ask("group show tagged")?["group"]["thingGroupArn"].as_str().unwrap_or_default().to_owned();
    operator.run(&format!("tag set {arn} owner=north shift=2"))?;
    operator.run(&format!("tag remove {arn} shift"))?;
    assert_eq!(operator.ask(&format!("tag list {arn}"))?, json!([{"Key": "owner", "Value": "north"}]));
    operator.run("events enable thing THING_TYPE")?;
    operator.run("events disable thing_type")?;
    let events = operator.ask("events show")?;
    assert_eq!(
        (&events["THING"]["Enabled"], &events["THING_TYPE"]["Enabled"]),
        (&json!(true), &json!(false))
    );
    assert!(operator.run("endpoint")?.starts_with("localhost"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_may_do_is_answered_by_the_exit_code_and_with_the_policy() -> anyhow::Result<()> {
    let plant = Plant::new()?;
    let device = plant.factory.device("asked")?;
    let (_wire, connack) = Wire::connect(&plant.broker, &device, "asked").await?;
    assert_eq!(connack.connack_code()?, 0);
    let id = device.id();
    let question =
        |words: &[&str]| plant.broker.run(&[words, &["--certificate", &id, "--client-id", "asked"]].concat());
    let allowed = question(&["authorize", "publish", "devices/asked/up"])?;
    assert!(allowed.code == Some(0) && allowed.stdout.contains("ALLOWED"), "{allowed:?}");
    let denied = question(&["authorize", "publish", "devices/asked/up", "devices/other/up"])?;
    assert!(denied.code == Some(2) && denied.stdout.contains("IMPLICIT_DENY"), "{denied:?}");
    let without = question(&["authorize", "connect", "asked", "--without-policy", "device"])?;
    assert_eq!(without.code, Some(2), "{without:?}");
    let effective = plant.broker.ask(&["policy", "effective", "--certificate", &id])?;
    assert_eq!(effective[0]["policyName"], json!("device"));
    // A certificate is detached and attached by its id.
    let changed = |verb: &str| plant.broker.run(&["thing", verb, "asked", &id]);
    assert_eq!(changed("detach")?.code, Some(0));
    assert_eq!(plant.broker.ask(&["thing", "show", "asked"])?["principals"], json!([]));
    assert_eq!(changed("attach")?.code, Some(0));
    Ok(())
}

#[test]
fn messages_are_published_and_connections_ended() -> anyhow::Result<()> {
    let operator = Operator::new()?;
    operator.run("publish plant/notice hello --qos 1 --retain")?;
    assert!(operator.run("retained list")?.contains("plant/notice"));
    assert!(operator.run("retained show plant/notice")?.contains("hello"));
    assert_eq!(operator.ask("retained show plant/notice")?["payload"], json!("aGVsbG8="));
    operator.run("retained delete plant/notice --yes")?;
    assert_eq!(operator.ask("retained list")?, json!([]));
    let absent = operator.0.run(&["connection", "delete", "absent", "--clean-session"])?;
    assert!(absent.code == Some(3) && absent.stderr.contains("ResourceNotFoundException"), "{absent:?}");
    Ok(())
}

#[tokio::test]
async fn the_shell_completes_names_from_the_broker_and_nothing_when_it_is_away() -> anyhow::Result<()> {
    let operator = Operator::new()?;
    for thing in ["comp-1", "comp-2", "other"] {
        operator.run(&format!("thing create {thing}"))?;
    }
    let complete = |api: &str| -> anyhow::Result<String> {
        let data_dir = operator.0.data_dir().to_string_lossy().into_owned();
        let line = ["--", "jitp", "--data-dir", &data_dir, "thing", "show", "comp"];
        let mut command = Command::new(jitp());
        command.args(line).envs([
            ("COMPLETE", "bash"),
            ("_CLAP_COMPLETE_INDEX", "5"),
            ("_CLAP_IFS", "\n"),
            ("JITP_API", api),
        ]);
        Ok(Finished::from_command(&mut command)?.stdout)
    };
    // A person at a shell is not kept waiting: on a busy machine the answer may come too late, and then there are no names.
    let names = eventually("names in time", || async {
        Ok(Some(complete(&operator.0.api_url())?).filter(|names| !names.is_empty()))
    });
    assert_eq!(names.await?.lines().collect::<Vec<_>>(), ["comp-1", "comp-2"]);
    assert_eq!(complete("http://127.0.0.1:9")?, "");
    Ok(())
}

#[test]
fn versions_of_policies_and_templates_are_added_put_in_force_and_deleted() -> anyhow::Result<()> {
    let operator = Operator::new()?;
    let desk = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = desk.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (policy, template) = (file("policy.json", POLICY)?, file("template.json", OPEN_TEMPLATE)?);
    operator.run(&format!("policy create versioned --document {policy}"))?;
    operator.run(&format!("template create versioned --body {template}"))?;
    for (word, option, body) in [("policy", "--document", &policy), ("template", "--body", &template)] {
        let added = operator.run(&format!("{word} update versioned {option} {body}"))?;
        assert_eq!(added, "version 2 is the default\n");
        assert_eq!(
            operator.run(&format!("{word} use versioned 1"))?,
            format!("version 1 is the default of the {word} versioned\n")
        );
        let versions = operator.ask(&format!("{word} versions versioned"))?;
        assert_eq!(versions.as_array().map(Vec::len), Some(2), "{versions}");
        assert!(operator.run(&format!("{word} versions versioned"))?.contains("default"));
        operator.run(&format!("{word} delete-version versioned 2 --yes"))?;
        assert_eq!(operator.ask(&format!("{word} versions versioned"))?.as_array().map(Vec::len), Some(1));
        operator.run(&format!("{word} delete versioned --yes"))?;
    }
    Ok(())
}

#[test]
fn certificates_of_devices_and_of_cas_are_deleted_once_they_are_switched_off() -> anyhow::Result<()> {
    let operator = Operator::new()?;
    let desk = tempfile::tempdir()?;
    let out = desk.path().display().to_string();
    let made = operator.ask(&format!("cert create --active --out {out}"))?;
    let id = made["certificateId"].as_str().unwrap_or_default();
    let refused = operator.0.run(&["cert", "delete", id, "--yes"])?;
    assert!(refused.code == Some(3) && refused.stderr.contains("ACTIVE"), "{refused:?}");
    operator.run(&format!("cert deactivate {id} --yes"))?;
    operator.run(&format!("cert delete {id} --yes"))?;
    assert_eq!(operator.0.run(&["cert", "show", id])?.code, Some(3));

    let (cert, key) = (format!("{out}/ca.pem"), format!("{out}/ca.key"));
    let ca = operator.ask(&format!("ca create --name Short-lived --cert {cert} --key {key}"))?;
    let id = ca["certificateId"].as_str().unwrap_or_default();
    operator.run(&format!("ca register --cert {cert} --key {key} --jitr --inactive"))?;
    operator.run(&format!("ca delete {id} --yes"))?;
    assert_eq!(operator.0.run(&["ca", "show", id])?.code, Some(3));
    Ok(())
}

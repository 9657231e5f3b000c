//! One line of an input: its values, its run, and what its report says. The line's resources and what became of it are one
//! commit, so that a line that is done is never done again.
use super::lines::{LONGEST, Line};
use super::report::{Outcome, ReportType};
use super::task::{self, TaskRecord, TaskStatus};
use crate::arn::Arn;
use crate::error::RegistryError;
use crate::issuing::{Issuing, IssuingError};
use crate::register_thing::{RegisteredThing, carry_out, not_signed, signed};
use crate::registry::Registry;
use crate::shared_records::SharedRecords;
use crate::store::StoreError;
use crate::transact::back_off;
use crate::tx::Tx;
use jitp_certs::Certificate;
use jitp_templates::{Parameters, Plan, Template};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most values of a line, and characters of a name and of a value (`spec/quotas.md` section 3).
const MOST_VALUES: usize = 1_000;
const LONGEST_NAME: usize = 2_048;
const LONGEST_VALUE: usize = 4_096;
/// The longest message in a report, in characters.
const LONGEST_MESSAGE: usize = 2_000;

/// How often a line starts over because others changed what it had read: each time somebody else has made progress.
const MOST_TRIES: u32 = 200;
/// How often a line starts over because what it had read does not fit together.
const MOST_TORN: u32 = 4;

/// How often, and how long each time, a line waits for an issuer that is busy.
const MOST_TURNS: u32 = 600;
const TURN: Duration = Duration::from_millis(100);

/// What all lines of a task share.
pub(super) struct Job {
    pub(super) registry: Registry,
    pub(super) issuing: Arc<Issuing>,
    pub(super) record: TaskRecord,
    pub(super) template: Template,
    /// The task's record as it is now.
    pub(super) shared: SharedRecords<TaskRecord>,
}

/// Why a line has no outcome.
#[derive(Debug)]
pub(super) enum Setback {
    /// The task is not to go on: it was stopped, or is gone.
    Stopped,
    /// Not now. What was done is kept; go on later.
    Later(String),
}

impl From<RegistryError> for Setback {
    fn from(error: RegistryError) -> Self {
        Self::Later(error.to_string())
    }
}

/// Why a line failed, for its report.
struct Failure {
    code: &'static str,
    message: String,
}

impl Job {
    /// Provisions a line unless that has been done. Durable when it returns.
    pub(super) async fn provision(&self, line: &Line) -> Result<Outcome, Setback> {
        let plan = self.plan(line);
        let (mut torn, mut certificate) = (0, None);
        for tries in 0..MOST_TRIES {
            let mut tx = self.registry.begin();
            if let Some(outcome) = self.done_already(&mut tx, line).await? {
                return Ok(outcome);
            }
            let failure = match &plan {
                Ok(plan) => match self.carry_out(&mut tx, plan, &mut certificate).await {
                    Ok(registered) => {
                        let outcome = self.success(line, &registered);
                        match self.commit(tx, line, &outcome).await? {
                            true => return Ok(outcome),
                            false => {
                                tokio::time::sleep(back_off(tries)).await;
                                continue;
                            }
                        }
                    }
                    Err(RegistryError::Unavailable(why)) => return Err(Setback::Later(why)),
                    // Two reads are not one snapshot: what does not fit together may have been seen between two commits.
                    Err(RegistryError::Internal(_)) if torn + 1 < MOST_TORN => {
                        torn += 1;
                        continue;
                    }
                    Err(error) => Failure::from(error),
                },
                Err(failure) => Failure { code: failure.code, message: failure.message.clone() },
            };
            // Nothing of the run remains but that it failed.
            let mut tx = self.registry.begin();
            if let Some(outcome) = self.done_already(&mut tx, line).await? {
                return Ok(outcome);
            }
            let outcome = failed(line, &failure);
            if self.commit(tx, line, &outcome).await? {
                return Ok(outcome);
            }
            tokio::time::sleep(back_off(tries)).await;
        }
        Err(Setback::Later("others keep changing the resources of a line".into()))
    }

    /// Carries out a plan. What has to be signed for it is signed once, however often others are in the way.
    async fn carry_out(
        &self,
        tx: &mut Tx,
        plan: &Plan,
        certificate: &mut Option<Certificate>,
    ) -> Result<RegisteredThing, RegistryError> {
        if certificate.is_none() {
            *certificate = self.sign(plan, tx).await?;
        }
        carry_out(tx, plan, certificate.as_ref()).await
    }

    /// Signs what a plan has signed; waits its turn where the issuer has as much to do as it can.
    async fn sign(&self, plan: &Plan, tx: &Tx) -> Result<Option<Certificate>, RegistryError> {
        let mut turns = 0;
        loop {
            match signed(&self.issuing, plan, tx.now()).await {
                Err(IssuingError::Busy(_)) if turns < MOST_TURNS => {
                    turns += 1;
                    tokio::time::sleep(TURN).await;
                }
                signed => return signed.map_err(|error| not_signed(plan, error)),
            }
        }
    }

    /// The line's outcome, if it has one. Must stay the truth until the commit, as must that the task goes on.
    async fn done_already(&self, tx: &mut Tx, line: &Line) -> Result<Option<Outcome>, Setback> {
        let record = tx.get_shared::<TaskRecord>(self.record.id.as_str(), &self.shared).await?;
        if record.is_none_or(|record| record.status != TaskStatus::InProgress) {
            return Err(Setback::Stopped);
        }
        Ok(task::outcome(tx, &self.record.id, line.offset).await?)
    }

    /// `false`: what was read has been changed meanwhile.
    async fn commit(&self, mut tx: Tx, line: &Line, outcome: &Outcome) -> Result<bool, Setback> {
        task::put_outcome(&mut tx, &self.record.id, line.offset, outcome);
        match tx.commit().await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(RegistryError::from(error).into()),
        }
    }

    fn plan(&self, line: &Line) -> Result<Plan, Failure> {
        let invalid = |message| Failure { code: "InvalidRequest", message };
        let text = line
            .text
            .as_deref()
            .ok_or_else(|| invalid(format!("the line is longer than {LONGEST} bytes: shorten its values")))?;
        let values = parse(text).map_err(invalid)?;
        self.template.evaluate(&values).map_err(|error| Failure {
            code: "InvalidRequest",
            message: format!("the template cannot be evaluated with these values: {error}"),
        })
    }

    fn success(&self, line: &Line, registered: &RegisteredThing) -> Outcome {
        let arns: BTreeMap<&str, String> = registered
            .resources
            .iter()
            .map(|(logical, (kind, name))| {
                let arn = Arn {
                    region: self.record.region.clone(),
                    account: self.registry.account().into(),
                    kind: *kind,
                    name: name.clone(),
                };
                (logical.as_str(), arn.to_string())
            })
            .collect();
        let response = match &registered.certificate_pem {
            Some(pem) => json!({ "certificatePem": pem, "resourceArns": arns }),
            None => json!({ "resourceArns": arns }),
        };
        let report = json!({ "lineId": line.number, "offset": line.offset, "response": response });
        metrics::counter!("RegistrationTask.Success").increment(1);
        outcome(ReportType::Results, &report)
    }
}

fn failed(line: &Line, failure: &Failure) -> Outcome {
    let message: String = failure.message.chars().take(LONGEST_MESSAGE).collect();
    let report = json!({
        "lineId": line.number,
        "offset": line.offset,
        "errorCode": failure.code,
        "errorMessage": message,
    });
    metrics::counter!("RegistrationTask.Failure").increment(1);
    outcome(ReportType::Errors, &report)
}

fn outcome(report: ReportType, line: &Value) -> Outcome {
    Outcome { report, line: format!("{line}\n").into_bytes() }
}

/// The values of a line. Names that only the broker may give a value are left out (`spec/templates.md` section 2).
fn parse(text: &[u8]) -> Result<Parameters, String> {
    let members: BTreeMap<String, Value> = match serde_json::from_slice(text) {
        Ok(members) => members,
        Err(error) if error.is_data() => {
            return Err("the line is not a JSON object: write {\"Name\": \"value\", …}".into());
        }
        Err(error) => return Err(format!("the line is not JSON: {error}")),
    };
    if members.len() > MOST_VALUES {
        return Err(format!("the line has {} values: at most {MOST_VALUES} are allowed", members.len()));
    }
    let mut values = Parameters::new();
    for (name, value) in members {
        let shown: String = name.chars().take(64).collect();
        let Value::String(value) = value else {
            return Err(format!("the value of {shown:?} is not a string: put it in quotation marks"));
        };
        if name.chars().nth(LONGEST_NAME).is_some() || value.chars().nth(LONGEST_VALUE).is_some() {
            return Err(format!(
                "{shown:?} is too long: a name has at most {LONGEST_NAME} characters, a value {LONGEST_VALUE}"
            ));
        }
        if !name.starts_with("AWS::") {
            values.insert(name, value);
        }
    }
    Ok(values)
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::RegistrationFailure(_) => "ResourceRegistrationFailure",
            RegistryError::ConflictingUpdate(_) => "ConflictingResourceUpdate",
            RegistryError::Internal(_) | RegistryError::Unavailable(_) => "InternalFailure",
            _ => "InvalidRequest",
        };
        Self { code, message: error.to_string() }
    }
}

/// Shared by all workers of a task.
pub(super) type SharedJob = Arc<Job>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_of_strings_and_nothing_that_only_the_broker_may_say() {
        let values = parse(br#" {"ThingName":"a","Empty":"","AWS::IoT::Certificate::Id":"00"} "#).unwrap();
        let expected = [("Empty", ""), ("ThingName", "a")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(values, expected.into());
        for (line, part) in [
            (&b"[]"[..], "not a JSON object"),
            (b"\"text\"", "not a JSON object"),
            (b"{\"a\":1}", "\"a\" is not a string"),
            (b"{\"a\":null}", "\"a\" is not a string"),
            (b"{\"a\":{\"b\":\"c\"}}", "\"a\" is not a string"),
            (b"{\"a\":\"b\"", "not JSON"),
            (b"{\"a\":\"b\"} x", "not JSON"),
            (b"ThingName=a", "not JSON"),
            (b"{\"a\":\"\xff\"}", "not JSON"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{}: {error}", line.escape_ascii());
        }
        let long =
            |name: usize, value: usize| format!("{{\"{}\":\"{}\"}}", "n".repeat(name), "v".repeat(value));
        assert!(parse(long(LONGEST_NAME, LONGEST_VALUE).as_bytes()).is_ok());
        assert!(parse(long(LONGEST_NAME + 1, 1).as_bytes()).unwrap_err().contains("too long"));
        assert!(parse(long(1, LONGEST_VALUE + 1).as_bytes()).unwrap_err().contains("too long"));
        let nested = ["[".repeat(100_000), "]".repeat(100_000)].concat();
        assert!(parse(nested.as_bytes()).is_err());
    }
}

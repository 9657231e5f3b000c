//! The pre-provisioning hook: a program of the operator's that is asked before a device is provisioned
//! (`spec/fleet-provisioning.md` section 7). Whatever is not a clear yes is a no.
use crate::admission::cause::Cause;
use crate::callback::{CallbackError, Callbacks};
use crate::names::CertificateId;
use crate::reason::ReasonCode;
use crate::records::ProvisioningHook;
use jitp_templates::Parameters;
use serde::{Deserialize, Serialize};

/// Names that only the broker may set.
const OWN_NAMES: &str = "AWS::";

/// The question.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Question<'a> {
    pub(super) claim_certificate_id: CertificateId,
    pub(super) certificate_id: CertificateId,
    pub(super) certificate_pem: &'a str,
    pub(super) template_arn: &'a str,
    pub(super) client_id: &'a str,
    /// As the device sent them, without pseudo-parameters.
    pub(super) parameters: &'a Parameters,
}

/// The answer, as far as anyone looks. A member that comes twice is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    allow_provisioning: bool,
    #[serde(default)]
    parameter_overrides: Option<Parameters>,
}

/// Asks the hook. Gives the values that it wants in place of the device's.
pub(super) async fn ask(
    callbacks: &Callbacks,
    hook: &ProvisioningHook,
    question: &Question<'_>,
) -> Result<Parameters, Cause> {
    let body = serde_json::to_vec(question)
        .map_err(|error| Cause::new(ReasonCode::Internal, format!("the hook's question: {error}")))?;
    let answer = callbacks.call(&hook.target_arn, &body).await.map_err(|error| match error {
        CallbackError::Busy(_) => Cause::new(
            ReasonCode::HookBusy,
            format!("the pre-provisioning hook: {error}; the device succeeds when it retries, or give the hook more"),
        ),
        error => Cause::new(
            ReasonCode::HookFailed,
            format!("the pre-provisioning hook could not be asked, which means no: {error}"),
        ),
    })?;
    decide(&answer, &hook.target_arn)
}

/// What an answer means.
fn decide(answer: &[u8], arn: &str) -> Result<Parameters, Cause> {
    let unclear = |why: String| {
        let message =
            format!("the answer of the pre-provisioning hook {arn} is no clear yes, which means no: {why}");
        Cause::new(ReasonCode::HookFailed, message)
    };
    // A structure is also read from an array of its members.
    if answer.trim_ascii_start().first() != Some(&b'{') {
        return Err(unclear("it is no JSON object".into()));
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| {
        unclear(format!(
            "{error}; expected {{\"allowProvisioning\": true, \"parameterOverrides\": {{\"Name\": \"value\"}}}}"
        ))
    })?;
    if !answer.allow_provisioning {
        let message = format!("the pre-provisioning hook {arn} did not allow it: the hook knows why");
        return Err(Cause::new(ReasonCode::HookDenied, message));
    }
    let overrides = answer.parameter_overrides.unwrap_or_default();
    if let Some(name) = overrides.keys().find(|name| name.starts_with(OWN_NAMES)) {
        return Err(unclear(format!(
            "parameterOverrides sets {name:?}, and {OWN_NAMES}… is for the broker alone"
        )));
    }
    if let Err(why) = super::parameters::check(&overrides) {
        return Err(unclear(format!("parameterOverrides: {why}")));
    }
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_literal_true_allows_and_overrides_are_texts_under_free_names() {
        let long =
            format!(r#"{{"allowProvisioning":true,"parameterOverrides":{{"a":"{}"}}}}"#, "x".repeat(4097));
        for (answer, expected) in [
            (r#"{"allowProvisioning":true}"#, Ok(vec![])),
            (r#"{"allowProvisioning":true,"parameterOverrides":null,"else":[1]}"#, Ok(vec![])),
            (
                r#" {"parameterOverrides":{"Site":"oslo","b":""},"allowProvisioning":true} "#,
                Ok(vec!["Site", "b"]),
            ),
            (r#"{"allowProvisioning":false}"#, Err(ReasonCode::HookDenied)),
            (r#"{"allowProvisioning":false,"parameterOverrides":{"a":"b"}}"#, Err(ReasonCode::HookDenied)),
            (r#"{"allowProvisioning":"true"}"#, Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":1}"#, Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":null}"#, Err(ReasonCode::HookFailed)),
            (r#"{"AllowProvisioning":true}"#, Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":false,"allowProvisioning":true}"#, Err(ReasonCode::HookFailed)),
            ("{}", Err(ReasonCode::HookFailed)),
            ("[true]", Err(ReasonCode::HookFailed)),
            ("true", Err(ReasonCode::HookFailed)),
            ("", Err(ReasonCode::HookFailed)),
            ("\u{feff}{\"allowProvisioning\":true}", Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":true} {}"#, Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":true,"parameterOverrides":{"n":1}}"#, Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":true,"parameterOverrides":{"n":null}}"#, Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":true,"parameterOverrides":["n"]}"#, Err(ReasonCode::HookFailed)),
            (r#"{"allowProvisioning":true,"parameterOverrides":"n"}"#, Err(ReasonCode::HookFailed)),
            (
                r#"{"allowProvisioning":true,"parameterOverrides":{"AWS::IoT::Certificate::Id":"00"}}"#,
                Err(ReasonCode::HookFailed),
            ),
            (&long, Err(ReasonCode::HookFailed)),
        ] {
            let decided = decide(answer.as_bytes(), "arn:x");
            let decided =
                decided.as_ref().map(|o| o.keys().map(String::as_str).collect()).map_err(|c| c.reason);
            assert_eq!(decided, expected, "{answer}");
        }
    }

    #[test]
    fn the_question_is_worded_as_aws_words_it() {
        let parameters = Parameters::from([("Serial".into(), "K-0042".into())]);
        let question = Question {
            claim_certificate_id: CertificateId::from_bytes([0xaa; 32]),
            certificate_id: CertificateId::from_bytes([0x0c; 32]),
            certificate_pem: "PEM",
            template_arn: "arn:t",
            client_id: "bootstrap-91",
            parameters: &parameters,
        };
        assert_eq!(
            serde_json::to_value(question).unwrap(),
            serde_json::json!({
                "claimCertificateId": "aa".repeat(32), "certificateId": "0c".repeat(32), "certificatePem": "PEM",
                "templateArn": "arn:t", "clientId": "bootstrap-91", "parameters": { "Serial": "K-0042" }
            })
        );
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic_and_few_mean_yes(answer: Vec<u8>) {
            let _ = decide(&answer, "arn:x");
        }
    }
}

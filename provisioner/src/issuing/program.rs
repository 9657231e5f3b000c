//! A program of the operator's that signs: the issuer instead of the CA, or the certificate provider
//! (`spec/fleet-provisioning.md` section 9).
use super::issuer::{Issuer, NotIssued, Order};
use crate::callback::{CallbackError, Callbacks};
use crate::error::RegistryError;
use async_trait::async_trait;
use jitp_certs::Certificate;

/// The program with an ARN.
pub(super) struct Program {
    pub(super) callbacks: Callbacks,
    pub(super) arn: String,
}

impl Program {
    /// The program that the configuration names as issuer.
    pub(super) fn known(callbacks: &Callbacks, arn: &str) -> Result<Self, RegistryError> {
        check_known(callbacks, "the configured issuer", arn)?;
        Ok(Self { callbacks: callbacks.clone(), arn: arn.into() })
    }
}

/// Does the configuration say what is behind the ARN?
pub(crate) fn check_known(callbacks: &Callbacks, what: &str, arn: &str) -> Result<(), RegistryError> {
    if callbacks.knows(arn) {
        return Ok(());
    }
    let arns: Vec<&str> = callbacks.arns().collect();
    let known = if arns.is_empty() { "there are none".to_owned() } else { arns.join(", ") };
    Err(RegistryError::InvalidRequest(format!(
        "{what} {arn:?} is none of the programs in [hooks] of the broker's configuration: {known}"
    )))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    certificate_signing_request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    certificate_pem: String,
}

#[async_trait]
impl Issuer for Program {
    async fn issue(&self, order: &Order) -> Result<Certificate, NotIssued> {
        let failed = |why: String| NotIssued::Failed(format!("{}: {why}", self.arn));
        let question = Question {
            certificate_signing_request: order.request.pem(),
            principal_id: order.principal.map(|id| id.to_string()),
            client_id: order.client_id.as_deref(),
        };
        let question = serde_json::to_vec(&question).map_err(|error| failed(error.to_string()))?;
        let answer = self.callbacks.call(&self.arn, &question).await.map_err(|error| match error {
            CallbackError::Busy(_) => NotIssued::Busy(error.to_string()),
            error => NotIssued::Failed(error.to_string()),
        })?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|error| failed(format!("its answer is not {{\"certificatePem\": …}}: {error}")))?;
        Certificate::from_pem(&answer.certificate_pem)
            .map_err(|error| failed(format!("its certificatePem cannot be used: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::Callback;
    use jitp_certs::{Attribute, CertificateId, CertificateRequest, KeyKind, KeyPair, Validity};
    use std::sync::Arc;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:sign";

    /// Gives a fixed answer to a question that it has checked.
    struct Fixed(&'static str);
    #[async_trait]
    impl Callback for Fixed {
        async fn call(&self, question: &[u8]) -> Result<Vec<u8>, String> {
            let question: serde_json::Value = serde_json::from_slice(question).unwrap();
            assert_eq!(question["principalId"], "09".repeat(32));
            assert_eq!(question["clientId"], "boot-1");
            assert!(question["certificateSigningRequest"].as_str().unwrap().starts_with("-----BEGIN"));
            Ok(self.0.into())
        }
    }

    #[tokio::test]
    async fn an_answer_that_holds_no_certificate_is_refused_with_the_program_and_what_is_wrong() {
        let pair = KeyPair::generate(KeyKind::EcP256).unwrap();
        let csr = pair.sign_request(&[(Attribute::CommonName, "pump".into())]).unwrap();
        let order = Order {
            request: CertificateRequest::from_pem(&csr).unwrap(),
            validity: Validity { not_before: 0, not_after: 1 },
            principal: Some(CertificateId::from_bytes([9; 32])),
            client_id: Some("boot-1".into()),
        };
        for (answer, expected) in [
            ("no JSON", "is not {"),
            ("{}", "certificatePem"),
            (r#"{"certificatePem": 7}"#, "is not {"),
            (r#"{"certificatePem": "none"}"#, "no PEM block"),
        ] {
            let callbacks = Callbacks::default().with(ARN, Arc::new(Fixed(answer)), 1);
            let program = Program { callbacks, arn: ARN.into() };
            match program.issue(&order).await {
                Err(NotIssued::Failed(why)) => assert!(why.contains(expected) && why.contains(ARN), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

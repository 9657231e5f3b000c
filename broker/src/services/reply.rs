//! An answer on its way to the connection that asked.
use super::desk::Request;
use super::encoding::Encoding;
use crate::message::{Message, PublishProperties, QoS};
use bytes::Bytes;
use jitp_provisioner::fleet::FleetError;
use serde::Serialize;
use std::sync::Arc;

/// An answer. It may hold a private key: it is shown to nobody but the client.
pub(crate) struct Reply {
    pub(crate) topic: Arc<str>,
    payload: Vec<u8>,
    /// Correlation Data of the request.
    correlation: Option<Bytes>,
    /// The request's topic, and how to say that this answer is too large; `None` once that is what it says.
    about: Option<(Arc<str>, Encoding)>,
}

/// Every rejection (`spec/fleet-provisioning.md` section 3).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rejected<'a> {
    status_code: u16,
    error_code: &'a str,
    error_message: &'a str,
}

impl Reply {
    pub(super) fn accepted(request: &Request, payload: Vec<u8>) -> Self {
        Self {
            topic: format!("{}/accepted", request.topic).into(),
            payload,
            correlation: request.correlation.clone(),
            about: Some((Arc::clone(&request.topic), request.api.encoding())),
        }
    }

    pub(crate) fn rejected(request: &Request, error: FleetError, message: &str) -> Self {
        let correlation = request.correlation.clone();
        Self::rejection(&request.topic, request.api.encoding(), correlation, error, message)
    }

    /// What to say instead when this is larger than the client takes; `None`: nothing smaller can be said.
    pub(crate) fn too_large(self) -> Option<Self> {
        let (topic, encoding) = self.about?;
        let message = "The answer is larger than the client's Maximum Packet Size.";
        Some(Self::rejection(&topic, encoding, self.correlation, FleetError::PayloadTooLarge, message))
    }

    /// As a message of the broker: QoS 1, not retained.
    pub(crate) fn message(&self) -> Message {
        let mut message = Message::new(Arc::clone(&self.topic), self.payload.clone(), QoS::AtLeastOnce);
        message.properties = self.correlation.clone().map(|data| {
            Box::new(PublishProperties { correlation_data: Some(data), ..PublishProperties::default() })
        });
        message
    }

    fn rejection(
        topic: &Arc<str>,
        encoding: Encoding,
        correlation: Option<Bytes>,
        error: FleetError,
        message: &str,
    ) -> Self {
        let rejected =
            Rejected { status_code: error.status_code(), error_code: error.code(), error_message: message };
        Self {
            topic: format!("{topic}/rejected").into(),
            payload: encoding.write(&rejected).unwrap_or_default(),
            correlation,
            about: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Api;
    use super::*;

    fn request(topic: &str) -> Request {
        Request {
            api: Api::of(topic).unwrap(),
            topic: topic.into(),
            payload: Bytes::new(),
            correlation: Some("c".into()),
        }
    }

    #[test]
    fn a_rejection_has_the_three_members_in_the_encoding_of_the_request() {
        let expected = r#"{"statusCode":404,"errorCode":"ResourceNotFound","errorMessage":"gone"}"#;
        let reply =
            Reply::rejected(&request("$aws/certificates/create/json"), FleetError::ResourceNotFound, "gone");
        assert_eq!(&*reply.topic, "$aws/certificates/create/json/rejected");
        assert_eq!(reply.message().payload, expected);
        let reply =
            Reply::rejected(&request("$aws/certificates/create/cbor"), FleetError::ResourceNotFound, "gone");
        let read: serde_json::Value = ciborium::from_reader(&*reply.payload).unwrap();
        assert_eq!(
            read.to_string().parse::<serde_json::Value>().unwrap(),
            expected.parse::<serde_json::Value>().unwrap()
        );
        // One map of three entries, its length in front; 404 as an unsigned integer.
        assert_eq!(reply.payload[0], 0xa3);
        assert!(reply.payload.windows(14).any(|w| w == b"\x6astatusCode\x19\x01\x94"));
    }

    #[test]
    fn an_answer_that_is_too_large_becomes_a_rejection_with_its_correlation_data_and_then_nothing() {
        let reply =
            Reply::accepted(&request("$aws/provisioning-templates/t/provision/json"), vec![b'x'; 5000]);
        let instead = reply.too_large().unwrap();
        assert_eq!(&*instead.topic, "$aws/provisioning-templates/t/provision/json/rejected");
        let message = instead.message();
        assert!(message.payload.starts_with(br#"{"statusCode":413,"errorCode":"PayloadTooLarge""#));
        assert_eq!(message.properties.unwrap().correlation_data.unwrap(), "c");
        assert!(instead.too_large().is_none());
    }
}

//! Transfers of certificates between accounts (`spec/control-plane.md` section 3): there is one account here, so that each
//! is refused with what is in the way.
use jitp_provisioner::names::CertificateId;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::text::Bounded;

pub(super) async fn transfer(call: &Call) -> Result<Reply, ApiError> {
    let id: CertificateId = call.label("certificateId").required()?;
    let AccountId(account) = call.query("targetAwsAccount").required()?;
    let _: Option<Bounded<0, 128>> = call.member("transferMessage").optional()?;
    call.registry().transfer_certificate(id, &account).await?;
    Ok(Reply::nothing())
}

pub(super) async fn accept(call: &Call) -> Result<Reply, ApiError> {
    let _: Option<bool> = call.query("setAsActive").optional()?;
    end(call).await
}

pub(super) async fn reject(call: &Call) -> Result<Reply, ApiError> {
    let _: Option<Bounded<0, 128>> = call.member("rejectReason").optional()?;
    end(call).await
}

pub(super) async fn cancel(call: &Call) -> Result<Reply, ApiError> {
    end(call).await
}

pub(super) async fn list_outgoing(call: &Call) -> Result<Reply, ApiError> {
    call.marker_page()?;
    Ok(Reply::members(json!({"outgoingCertificates": []})))
}

async fn end(call: &Call) -> Result<Reply, ApiError> {
    let id: CertificateId = call.label("certificateId").required()?;
    call.registry().end_certificate_transfer(id).await?;
    Ok(Reply::nothing())
}

/// 12 digits.
struct AccountId(String);
impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err(D::Error::custom("expected the 12 digits of an account"))
        }
    }
}

//! Billing groups (`spec/control-plane.md` section 6).
use jitp_provisioner::ResourceKind;
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;

pub(super) async fn create(call: &Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase")]
    struct Properties {
        billing_group_description: Option<String>,
    }
    let name = call.label("billingGroupName").required()?;
    let Object(properties): Object<Properties> = call.member("billingGroupProperties").or_default()?;
    let record = call.registry().create_billing_group(name, properties.billing_group_description).await?;
    Ok(Reply::members(json!({
        "billingGroupName": record.name,
        "billingGroupArn": call.arn(ResourceKind::BillingGroup, &record.name),
        "billingGroupId": record.billing_group_id,
    })))
}

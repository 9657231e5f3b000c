//! What a device may do: effective policies and tests of authorization (`spec/control-plane.md` section 7).
use jitp_provisioner::names::{CertificateId, PolicyName, ThingName};
use jitp_provisioner::policies::Action;
use jitp_provisioner::records::PolicyVersionRecord;
use jitp_provisioner::{AuthorizationAnswer, AuthorizationQuestion, AuthorizationRequest, ResourceKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policy_attachments::named;
use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::Bounded;

pub(super) async fn effective_policies(call: &Call) -> Result<Reply, ApiError> {
    refuse_cognito(call)?;
    let principal = principal(call)?;
    let thing: Option<ThingName> = call.query("thingName").optional()?;
    if principal.is_none() && thing.is_none() {
        return Err(ApiError::invalid("principal", "give this, thingName, or both"));
    }
    let policies = call.provisioner().effective_policies(principal, thing.as_ref()).await?;
    let item = |version: &PolicyVersionRecord| {
        json!({
            "policyName": version.policy,
            "policyArn": call.arn(ResourceKind::Policy, &version.policy),
            "policyDocument": version.document,
        })
    };
    Ok(Reply::members(json!({"effectivePolicies": policies.iter().map(item).collect::<Vec<_>>()})))
}

pub(super) async fn test(call: &Call) -> Result<Reply, ApiError> {
    refuse_cognito(call)?;
    let infos: Vec<Object<AuthInfo>> = call.member("authInfos").required()?;
    if !(1..=10).contains(&infos.len()) {
        return Err(ApiError::invalid("authInfos", format_args!("expected 1 to 10, got {}", infos.len())));
    }
    let client_id: Option<Bounded<1, 65_535>> = call.query("clientId").optional()?;
    let question = AuthorizationQuestion {
        principal: principal(call)?,
        client_id: client_id.map(|text| text.0),
        add: call.member::<Vec<PolicyName>>("policyNamesToAdd").or_default()?,
        skip: call.member::<Vec<PolicyName>>("policyNamesToSkip").or_default()?,
        requests: infos.iter().map(|Object(info)| info.request(call)).collect::<Result<_, _>>()?,
    };
    let answers = call.provisioner().test_authorization(&question).await?;
    let results: Vec<Value> =
        infos.iter().zip(&answers).map(|(Object(info), answer)| result(call, info, answer)).collect();
    Ok(Reply::members(json!({"authResults": results})))
}

/// `authInfos`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthInfo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action_type: Option<ActionType>,
    resources: Vec<Bounded<0, 2048>>,
}

#[derive(Deserialize, Serialize, Clone, Copy)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ActionType {
    Publish,
    Subscribe,
    Receive,
    Connect,
}

impl AuthInfo {
    fn request(&self, call: &Call) -> Result<AuthorizationRequest, ApiError> {
        let action = match self.action_type {
            Some(ActionType::Publish) => Action::Publish,
            Some(ActionType::Subscribe) => Action::Subscribe,
            Some(ActionType::Receive) => Action::Receive,
            Some(ActionType::Connect) => Action::Connect,
            None => return Err(ApiError::invalid("authInfos", "actionType is required")),
        };
        let (region, account) = (call.region(), call.registry().account());
        let start = format!("arn:aws:iot:{region}:{account}:{}/", action.resource_kind());
        let name = |resource: &Bounded<0, 2048>| {
            resource.0.strip_prefix(&start).map(str::to_owned).ok_or_else(|| {
                let action = action.name();
                ApiError::invalid(
                    "authInfos",
                    format_args!("a resource of {action} is an ARN that starts with {start}"),
                )
            })
        };
        let names: Vec<String> = self.resources.iter().map(name).collect::<Result<_, _>>()?;
        if names.is_empty() {
            return Err(ApiError::invalid("authInfos", "resources is empty: name at least one"));
        }
        Ok(AuthorizationRequest { action, names })
    }
}

fn result(call: &Call, info: &AuthInfo, answer: &AuthorizationAnswer) -> Value {
    let policies = |names: &[PolicyName]| -> Value {
        json!({"policies": names.iter().map(|name| named(call, name)).collect::<Vec<_>>()})
    };
    let decision = match (answer.allowed, answer.denied_by.as_slice()) {
        (true, _) => "ALLOWED",
        (false, []) => "IMPLICIT_DENY",
        (false, _) => "EXPLICIT_DENY",
    };
    json!({
        "authInfo": info,
        "allowed": policies(&answer.allowed_by),
        "denied": {
            "implicitDeny": policies(&answer.silent),
            "explicitDeny": policies(&answer.denied_by),
        },
        "authDecision": decision,
        "missingContextValues": answer.missing,
    })
}

fn principal(call: &Call) -> Result<Option<CertificateId>, ApiError> {
    if call.member::<Value>("principal").optional()?.is_none() {
        return Ok(None);
    }
    call.principal(call.member("principal")).map(Some)
}

/// Refused rather than passed over: an answer without what it would add would be wrong.
fn refuse_cognito(call: &Call) -> Result<(), ApiError> {
    match call.member::<String>("cognitoIdentityPoolId").optional()? {
        None => Ok(()),
        Some(_) => Err(ApiError::invalid(
            "cognitoIdentityPoolId",
            "there are no Cognito identities here: leave it out",
        )),
    }
}

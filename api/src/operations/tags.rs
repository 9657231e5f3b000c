//! Tags of resources (`spec/control-plane.md` section 9).
use jitp_provisioner::registry::Tags;
use serde::Deserialize;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::Bounded;

type TagKey = Bounded<1, 128>;
type TagValue = Bounded<0, 256>;

/// A tag on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: TagKey,
    value: Option<TagValue>,
}

pub(super) async fn tag(call: &Call) -> Result<Reply, ApiError> {
    let resource = call.resource(call.member("resourceArn"))?;
    let tags = read(call.member::<Vec<Object<Tag>>>("tags").required()?)?;
    call.registry().tag(&resource, tags).await?;
    Ok(Reply::nothing())
}

pub(super) async fn untag(call: &Call) -> Result<Reply, ApiError> {
    let resource = call.resource(call.member("resourceArn"))?;
    let keys: Vec<TagKey> = call.member("tagKeys").required()?;
    call.registry().untag(&resource, keys.into_iter().map(|key| key.0).collect()).await?;
    Ok(Reply::nothing())
}

/// A resource has a handful of tags: they are always one page.
pub(super) async fn list(call: &Call) -> Result<Reply, ApiError> {
    let resource = call.resource(call.query("resourceArn"))?;
    call.first_page_only()?;
    let tags = call.registry().tags(&resource).await?;
    let tags: Vec<_> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    Ok(Reply::members(json!({"tags": tags})))
}

/// `tags` of a new resource.
pub(super) fn of_new(call: &Call) -> Result<Tags, ApiError> {
    read(call.member("tags").or_default()?)
}

fn read(given: Vec<Object<Tag>>) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for Object(tag) in given {
        if tags.insert(tag.key.0, tag.value.map(|value| value.0).unwrap_or_default()).is_some() {
            return Err(ApiError::invalid("tags", "a key is given more than once"));
        }
    }
    Ok(tags)
}

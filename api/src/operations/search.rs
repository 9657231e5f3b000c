//! Fleet indexing: what can be searched, and searching (`spec/control-plane.md` section 9). Things are searched in the
//! registry itself; there is one index, `AWS_Things`.
use jitp_provisioner::RegistryError;
use jitp_provisioner::records::{FieldType, IndexedField, IndexingConfiguration};
use jitp_provisioner::registry::FoundThing;
use jitp_provisioner::search::Query;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Value, json};

use crate::call::Call;
use crate::error::ApiError;
use crate::object::Object;
use crate::reply::Reply;
use crate::text::{Bounded, Marks, Plain};

/// The one index.
pub(super) const INDEX: &str = "AWS_Things";
/// The one version of the query language.
pub(super) const QUERY_VERSION: &str = "2017-09-30";

pub(super) async fn search(call: &Call) -> Result<Reply, ApiError> {
    let query: QueryText = call.member("queryString").required()?;
    index_and_version(call)?;
    let request = call.body_page()?;
    let query = Query::parse(&query.0).map_err(|error| ApiError::invalid_query(&error))?;
    let page = call.registry().search_things(&query, &request).await?;
    Ok(Reply::members(json!({
        "things": page.items.iter().map(item).collect::<Vec<_>>(),
        "nextToken": call.next_token(page.next),
    })))
}

pub(super) async fn configuration(call: &Call) -> Result<Reply, ApiError> {
    let configuration = call.registry().indexing_configuration().await?;
    let on = |on, name| if on { name } else { "OFF" };
    let managed = |fields: &[(&str, &str)]| -> Vec<Value> {
        fields.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect()
    };
    let things: &[(&str, &str)] = match (configuration.registry, configuration.connectivity) {
        (false, _) => &[],
        (true, false) => &OF_REGISTRY,
        (true, true) => &WITH_CONNECTIVITY,
    };
    Ok(Reply::members(json!({
        "thingIndexingConfiguration": {
            "thingIndexingMode": on(configuration.registry, "REGISTRY"),
            "thingConnectivityIndexingMode": on(configuration.connectivity, "STATUS"),
            "deviceDefenderIndexingMode": "OFF",
            "namedShadowIndexingMode": "OFF",
            "managedFields": managed(things),
            "customFields": configuration.custom_fields,
        },
        "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "OFF"},
    })))
}

/// What can be searched, in AWS's words.
const OF_REGISTRY: [(&str, &str); 4] = [
    ("thingId", "String"),
    ("thingName", "String"),
    ("thingTypeName", "String"),
    ("thingGroupNames", "String"),
];
const WITH_CONNECTIVITY: [(&str, &str); 7] = [
    ("thingId", "String"),
    ("thingName", "String"),
    ("thingTypeName", "String"),
    ("thingGroupNames", "String"),
    ("connectivity.connected", "Boolean"),
    ("connectivity.timestamp", "Number"),
    ("connectivity.disconnectReason", "String"),
];

pub(super) async fn update_configuration(call: &Call) -> Result<Reply, ApiError> {
    let things: Option<Object<ThingIndexing>> = call.member("thingIndexingConfiguration").optional()?;
    let groups: Option<Object<GroupIndexing>> = call.member("thingGroupIndexingConfiguration").optional()?;
    let refuse = |member: &'static str, what: &str| {
        Err(ApiError::invalid(member, format_args!("{what} cannot be indexed: there are none here")))
    };
    if groups.is_some_and(|Object(groups)| groups.thing_group_indexing_mode == Switch::On) {
        return refuse("thingGroupIndexingConfiguration", "thing groups as an index of their own");
    }
    let Some(Object(things)) = things else { return Ok(Reply::nothing()) };
    let member = "thingIndexingConfiguration";
    if things.thing_indexing_mode == ThingMode::RegistryAndShadow
        || things.named_shadow_indexing_mode == Some(Switch::On)
    {
        return refuse(member, "shadows");
    }
    if things.device_defender_indexing_mode == Some(DefenderMode::Violations) {
        return refuse(member, "violations of Device Defender");
    }
    let filter = things.filter.map(|Object(filter)| filter).unwrap_or_default();
    if !filter.named_shadow_names.unwrap_or_default().is_empty() {
        return refuse(member, "shadows");
    }
    if !filter.geo_locations.unwrap_or_default().is_empty() {
        return refuse(member, "places");
    }
    let registry = things.thing_indexing_mode == ThingMode::Registry;
    let connectivity = things.thing_connectivity_indexing_mode == Some(ConnectivityMode::Status);
    if connectivity && !registry {
        return Err(ApiError::invalid(
            member,
            "thingConnectivityIndexingMode STATUS needs thingIndexingMode REGISTRY",
        ));
    }
    let custom_fields =
        things.custom_fields.unwrap_or_default().into_iter().map(Field::into_record).collect();
    let configuration = IndexingConfiguration { registry, connectivity, custom_fields };
    call.registry().update_indexing_configuration(configuration).await?;
    Ok(Reply::nothing())
}

pub(super) async fn list_indices(call: &Call) -> Result<Reply, ApiError> {
    call.token_page_of_few(500)?;
    let names: &[&str] =
        if call.registry().indexing_configuration().await?.registry { &[INDEX] } else { &[] };
    Ok(Reply::members(json!({"indexNames": names})))
}

pub(super) async fn describe_index(call: &Call) -> Result<Reply, ApiError> {
    let IndexName(name) = call.label("indexName").required()?;
    let configuration = call.registry().indexing_configuration().await?;
    if name != INDEX || !configuration.registry {
        return Err(RegistryError::NotFound { kind: "index", name }.into());
    }
    let schema = if configuration.connectivity { "REGISTRY_AND_CONNECTIVITY_STATUS" } else { "REGISTRY" };
    Ok(Reply::members(json!({"indexName": INDEX, "indexStatus": "ACTIVE", "schema": schema})))
}

fn item(found: &FoundThing) -> Value {
    let connectivity = found.connection.map(|state| {
        json!({
            "connected": state.connected,
            "timestamp": Some(state.since.millis()).filter(|at| *at > 0),
            "disconnectReason": state.disconnect_reason,
        })
    });
    json!({
        "thingName": found.thing.name,
        "thingId": found.thing.thing_id,
        "thingTypeName": found.thing.thing_type,
        "thingGroupNames": found.groups,
        "attributes": found.thing.attributes,
        "connectivity": connectivity,
    })
}

/// `indexName` and `queryVersion`: there is one of each.
pub(super) fn index_and_version(call: &Call) -> Result<(), ApiError> {
    let index: Option<IndexName> = call.member("indexName").optional()?;
    let version: Option<Bounded<0, 64>> = call.member("queryVersion").optional()?;
    if version.is_some_and(|version| version.0 != QUERY_VERSION) {
        return Err(ApiError::invalid("queryVersion", format_args!("the only one is {QUERY_VERSION}")));
    }
    match index {
        Some(IndexName(name)) if name != INDEX => Err(RegistryError::NotFound { kind: "index", name }.into()),
        _ => Ok(()),
    }
}

/// The text of a query; how long it may be is for the query language to say.
pub(super) type QueryText = Bounded<1, 65_536>;

/// The name of an index: as that of a thing.
struct IndexName(String);
impl<'de> Deserialize<'de> for IndexName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
        if (1..=128).contains(&text.len()) && text.chars().all(legal) {
            Ok(Self(text))
        } else {
            Err(D::Error::custom("expected the name of an index: 1 to 128 characters of a-z A-Z 0-9 : _ -"))
        }
    }
}

/// `thingIndexingConfiguration`. Which fields AWS manages is not for the caller to say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThingIndexing {
    thing_indexing_mode: ThingMode,
    thing_connectivity_indexing_mode: Option<ConnectivityMode>,
    device_defender_indexing_mode: Option<DefenderMode>,
    named_shadow_indexing_mode: Option<Switch>,
    #[expect(dead_code, reason = "read so that it is checked")]
    managed_fields: Option<Vec<Object<Field>>>,
    custom_fields: Option<Vec<Object<Field>>>,
    filter: Option<Object<Filter>>,
}
#[derive(Deserialize)]
struct Field {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<FieldType>,
}
impl Field {
    fn into_record(Object(field): Object<Self>) -> IndexedField {
        IndexedField { name: field.name, kind: field.kind }
    }
}
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    named_shadow_names: Option<Vec<Plain<ShadowName, 64>>>,
    geo_locations: Option<Vec<Object<GeoLocation>>>,
}
#[derive(Deserialize)]
#[expect(dead_code, reason = "read so that it is checked")]
struct GeoLocation {
    name: Option<String>,
    order: Option<GeoOrder>,
}
#[derive(Deserialize)]
enum GeoOrder {
    LatLon,
    LonLat,
}
struct ShadowName;
impl Marks for ShadowName {
    const MARKS: &'static str = "$:_-";
}
/// `thingGroupIndexingConfiguration`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupIndexing {
    thing_group_indexing_mode: Switch,
    #[expect(dead_code, reason = "read so that it is checked")]
    managed_fields: Option<Vec<Object<Field>>>,
    #[expect(dead_code, reason = "read so that it is checked")]
    custom_fields: Option<Vec<Object<Field>>>,
}
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ThingMode {
    Off,
    Registry,
    RegistryAndShadow,
}
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ConnectivityMode {
    Off,
    Status,
}
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum DefenderMode {
    Off,
    Violations,
}
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Switch {
    Off,
    On,
}

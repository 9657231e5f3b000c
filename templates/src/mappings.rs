//! `Mappings`: two levels of keys over literal values (`spec/templates.md` section 6).
use crate::check::{Check, Read};
use crate::json::{Node, Value};
use std::collections::BTreeMap;

/// Map name → top key → second key → value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mappings(BTreeMap<String, Map>);

type Map = BTreeMap<String, BTreeMap<String, MapValue>>;

#[derive(Debug, Clone)]
pub(crate) enum MapValue {
    Text(String),
    List(Vec<String>),
}

/// Why a look-up finds nothing; carries the keys that exist, for a suggestion.
pub(crate) enum NotFound<'m> {
    Map(Vec<&'m str>),
    TopKey(Vec<&'m str>),
    SecondKey(Vec<&'m str>),
}

impl Mappings {
    /// Reads the member `Mappings`. A faulty entry still counts as existing.
    pub(crate) fn read(node: &Node, check: &mut Check<'_>) -> Self {
        let mut maps = BTreeMap::new();
        for map in check.object(node, "\"Mappings\"").unwrap_or_default() {
            let mut tops = Map::new();
            for top in check.object(&map.node, "a map").unwrap_or_default() {
                let mut seconds = BTreeMap::new();
                for second in check.object(&top.node, "the second level of a map").unwrap_or_default() {
                    let value = MapValue::read(&second.node, check).unwrap_or(MapValue::Text(String::new()));
                    seconds.insert(second.name.to_string(), value);
                }
                tops.insert(top.name.to_string(), seconds);
            }
            maps.insert(map.name.to_string(), tops);
        }
        Self(maps)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The map exists.
    pub(crate) fn map(&self, name: &str) -> Result<&Map, NotFound<'_>> {
        self.0.get(name).ok_or_else(|| NotFound::Map(self.0.keys().map(String::as_str).collect()))
    }

    pub(crate) fn find(&self, map: &str, top: &str, second: &str) -> Result<&MapValue, NotFound<'_>> {
        let seconds = self.top(map, top)?;
        seconds.get(second).ok_or_else(|| NotFound::SecondKey(seconds.keys().map(String::as_str).collect()))
    }

    pub(crate) fn top(&self, map: &str, top: &str) -> Result<&BTreeMap<String, MapValue>, NotFound<'_>> {
        let tops = self.map(map)?;
        tops.get(top).ok_or_else(|| NotFound::TopKey(tops.keys().map(String::as_str).collect()))
    }
}

impl MapValue {
    fn read(node: &Node, check: &mut Check<'_>) -> Read<Self> {
        match &node.value {
            Value::List(items) => {
                let texts: Vec<Read<String>> = items
                    .iter()
                    .map(|item| check.literal(item, "an element of a list in a map").map(str::to_owned))
                    .collect();
                Ok(Self::List(texts.into_iter().collect::<Read<_>>()?))
            }
            Value::Object(_) if node.call().is_none() => Err(check
                .report(&node.place, "a map has two levels of keys: put a string or a list of strings here")),
            _ => Ok(Self::Text(check.literal(node, "a value in a map")?.to_owned())),
        }
    }
}

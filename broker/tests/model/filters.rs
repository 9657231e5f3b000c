//! Filters and topics, compared level by level.
use super::script::FILTERS;

/// Of a subscription to this filter.
pub fn identifier(filter: usize) -> u32 {
    filter as u32 + 1
}

pub fn levels(topic: &str) -> Vec<&str> {
    topic.split('/').collect()
}

/// Whether a topic matches a filter (OASIS MQTT 5.0 section 4.7).
pub fn matches(filter: usize, topic: &str) -> bool {
    let path = match FILTERS[filter].strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, path)| path),
        None => FILTERS[filter],
    };
    let hidden = topic.starts_with('$') && path.starts_with(['+', '#']);
    !hidden && levels_match(&levels(path), &levels(topic))
}

pub fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([wanted, filter @ ..], [level, topic @ ..]) => {
            (*wanted == "+" || wanted == level) && levels_match(filter, topic)
        }
        _ => false,
    }
}

//! Tags (`spec/control-plane.md`, name patterns).
use super::Result;
use crate::error::RegistryError;
use std::collections::BTreeMap;

const MOST: usize = 50;

/// Are these legal tags?
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<()> {
    if tags.len() > MOST {
        return Err(RegistryError::InvalidRequest(format!(
            "{} tags were given: {MOST} are allowed",
            tags.len()
        )));
    }
    let legal = |text: &str| {
        text.chars().all(|c| {
            c.is_alphanumeric() || c == ' ' || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@')
        })
    };
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || !legal(key) {
            return Err(RegistryError::InvalidRequest(format!(
                "the tag key {key:?} must be 1 to 128 letters, digits, spaces or _ . : / = + - @"
            )));
        }
        if value.chars().count() > 256 || !legal(value) {
            return Err(RegistryError::InvalidRequest(format!(
                "the value of the tag {key:?} must be at most 256 letters, digits, spaces or _ . : / = + - @"
            )));
        }
    }
    Ok(())
}

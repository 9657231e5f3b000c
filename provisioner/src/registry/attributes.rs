//! Attributes of things and groups (`spec/quotas.md` section 4).
use super::Result;
use crate::error::RegistryError;
use crate::names::{AttributeName, AttributeValue};
use std::collections::BTreeMap;

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<AttributeName, AttributeValue>;

const MOST_WITHOUT_TYPE: usize = 3;
const MOST: usize = 50;
const MOST_BYTES: usize = 47 * 1024;

/// May a thing have these attributes?
pub(crate) fn check_of_thing(attributes: &Attributes, has_type: bool) -> Result<()> {
    let most = if has_type { MOST } else { MOST_WITHOUT_TYPE };
    if attributes.len() > most {
        let way_out =
            if has_type { "give fewer" } else { "give it a thing type, which allows 50, or give fewer" };
        return Err(RegistryError::InvalidRequest(format!(
            "the thing would have {} attributes, and {most} are allowed: {way_out}",
            attributes.len()
        )));
    }
    let bytes: usize = attributes.iter().map(|(n, v)| n.as_str().len() + v.as_str().len()).sum();
    if bytes > MOST_BYTES {
        return Err(RegistryError::InvalidRequest(format!(
            "the thing's attributes would have {bytes} bytes, and {MOST_BYTES} are allowed: give fewer or shorter ones"
        )));
    }
    Ok(())
}

/// May a group have these attributes?
pub(super) fn check_of_group(attributes: &Attributes) -> Result<()> {
    if attributes.len() > MOST {
        return Err(RegistryError::InvalidRequest(format!(
            "the thing group would have {} attributes, and {MOST} are allowed: give fewer",
            attributes.len()
        )));
    }
    Ok(())
}

/// What UpdateThing makes of attributes: `merge` adds to them, else the new ones replace all; an empty value removes.
pub(crate) fn updated(before: &Attributes, new: &Attributes, merge: bool) -> Attributes {
    let mut after = if merge { before.clone() } else { Attributes::new() };
    for (name, value) in new {
        if value.as_str().is_empty() {
            after.remove(name);
        } else {
            after.insert(name.clone(), value.clone());
        }
    }
    after
}

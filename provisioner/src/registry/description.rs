//! Descriptions (`spec/control-plane.md`, name patterns).
use super::Result;
use crate::error::RegistryError;

/// At most `most` characters, none of them a control character.
pub(super) fn check(what: &str, description: Option<&str>, most: usize) -> Result<()> {
    let Some(text) = description else { return Ok(()) };
    let length = text.chars().count();
    if length > most || text.chars().any(char::is_control) {
        return Err(RegistryError::InvalidRequest(format!(
            "the description of the {what} has {length} characters: at most {most} are allowed, and no control \
             characters"
        )));
    }
    Ok(())
}

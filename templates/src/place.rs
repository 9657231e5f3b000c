//! Where something stands in a template: a JSON path for a person, an offset to put problems in document
//! order.
use std::fmt;
use std::sync::Arc;

/// A JSON path such as `$.Resources.gw.Properties.ThingName`. Cheap to clone and to extend.
#[derive(Debug, Clone)]
pub(crate) struct Place(Option<Arc<Step>>);

#[derive(Debug)]
struct Step {
    parent: Place,
    name: Name,
    at: usize,
}

#[derive(Debug)]
enum Name {
    Member(Arc<str>),
    Index(usize),
}

impl Place {
    /// `$`.
    pub(crate) const ROOT: Self = Self(None);

    /// A member of the object at this place; its value starts at byte `at` of the document.
    pub(crate) fn member(&self, name: Arc<str>, at: usize) -> Self {
        Self(Some(Arc::new(Step { parent: self.clone(), name: Name::Member(name), at })))
    }

    /// An element of the list at this place.
    pub(crate) fn element(&self, index: usize, at: usize) -> Self {
        Self(Some(Arc::new(Step { parent: self.clone(), name: Name::Index(index), at })))
    }

    /// Where its value starts, in bytes from the start of the document.
    pub(crate) fn offset(&self) -> usize {
        self.0.as_ref().map_or(0, |step| step.at)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = Vec::new();
        let mut place = self;
        while let Some(step) = &place.0 {
            steps.push(step);
            place = &step.parent;
        }
        f.write_str("$")?;
        for step in steps.into_iter().rev() {
            match &step.name {
                Name::Index(index) => write!(f, "[{index}]")?,
                Name::Member(name) if is_plain(name) => write!(f, ".{name}")?,
                Name::Member(name) => write_quoted(f, name)?,
            }
        }
        Ok(())
    }
}

/// A key longer than this is cut in a path, so that a path in an error stays readable.
const LONGEST_KEY_SHOWN: usize = 200;

/// May stand after a dot (RFC 9535, member-name-shorthand).
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && name.len() <= LONGEST_KEY_SHOWN
}

fn write_quoted(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    f.write_str("['")?;
    for (i, c) in name.chars().enumerate() {
        if i == LONGEST_KEY_SHOWN {
            f.write_str("…")?;
            break;
        }
        match c {
            '\'' => f.write_str("\\'")?,
            '\\' => f.write_str("\\\\")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("']")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_keys_follow_a_dot_and_odd_keys_are_quoted() {
        let place = Place::ROOT.member("Resources".into(), 3).member("it's".into(), 5).element(2, 9);
        assert_eq!(place.to_string(), "$.Resources['it\\'s'][2]");
        assert_eq!(Place::ROOT.member("AWS::IoT::X".into(), 0).to_string(), "$['AWS::IoT::X']");
        assert_eq!(Place::ROOT.member("a-b".into(), 0).to_string(), "$['a-b']");
        assert_eq!(Place::ROOT.member("".into(), 0).to_string(), "$['']");
        assert_eq!(place.offset(), 9);
    }

    #[test]
    fn a_long_key_is_cut() {
        let shown = Place::ROOT.member("k".repeat(5000).into(), 0).to_string();
        assert!(shown.chars().count() < 220, "{shown}");
    }
}

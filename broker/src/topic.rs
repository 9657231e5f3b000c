//! Topic names and topic filters: what is valid, and which matches which (OASIS MQTT 5.0 section 4.7).
use std::fmt;
use std::sync::Arc;

/// Bounds of names and filters. Both are checked before anything else looks at the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimits {
    /// UTF-8 bytes of a topic, or of a filter without `$share/<group>/`. At most 65,535 by the protocol.
    pub bytes: usize,
    /// Levels, one more than slashes, not counting `$share/<group>/` nor `$aws/rules/<rule>/`. At most [`MAX_LEVELS`].
    pub levels: usize,
}

/// More levels than this are refused whatever the configuration says: it bounds the work and the stack of matching.
pub const MAX_LEVELS: usize = 128;

/// Longest name of a shared subscription's group, in characters (`spec/mqtt-behaviour.md` section 5).
pub const MAX_GROUP_CHARS: usize = 128;

impl From<&crate::Limits> for TopicLimits {
    fn from(limits: &crate::Limits) -> Self {
        Self { bytes: limits.topic_bytes, levels: limits.topic_levels }
    }
}

impl TopicLimits {
    /// Whether `topic` may be published to: not empty, within the bounds, no NUL, no wildcard.
    pub fn check_topic(self, topic: &str) -> Result<(), TopicError> {
        self.check(topic)?;
        match topic.bytes().find(|byte| matches!(byte, b'+' | b'#')) {
            Some(_) => Err(TopicError::WildcardInTopic),
            None => Ok(()),
        }
    }

    fn check(self, text: &str) -> Result<(), TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > self.bytes {
            return Err(TopicError::TooLong { bytes: text.len(), limit: self.bytes });
        }
        if text.contains('\0') {
            return Err(TopicError::Nul);
        }
        let levels = levels(without_basic_ingest(text));
        let limit = self.levels.min(MAX_LEVELS);
        if levels > limit {
            return Err(TopicError::TooDeep { levels, limit });
        }
        Ok(())
    }
}

/// A valid topic filter, as subscribed: `a/+/b`, or `$share/<group>/a/+/b`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter {
    text: Arc<str>,
    /// Where the filter proper starts: behind `$share/<group>/`.
    start: u16,
}

const SHARE: &str = "$share/";

impl Filter {
    /// Reads a filter within bounds. `$share` without a proper group or filter is an error, not an ordinary filter.
    pub fn parse(text: &str, limits: TopicLimits) -> Result<Self, TopicError> {
        let start = match text.strip_prefix(SHARE) {
            None if text == "$share" => return Err(TopicError::ShareWithoutFilter),
            None => 0,
            Some(rest) => {
                let (group, _) = rest.split_once('/').ok_or(TopicError::ShareWithoutFilter)?;
                if group.is_empty() || group.contains(['+', '#', '\0']) {
                    return Err(TopicError::BadGroup);
                }
                if group.chars().count() > MAX_GROUP_CHARS {
                    return Err(TopicError::GroupTooLong);
                }
                SHARE.len() + group.len() + 1
            }
        };
        let (_, path) = text.split_at_checked(start).ok_or(TopicError::ShareWithoutFilter)?;
        limits.check(path)?;
        let mut levels = path.split('/').peekable();
        while let Some(level) = levels.next() {
            match level {
                "+" => {}
                "#" if levels.peek().is_some() => return Err(TopicError::HashNotLast),
                "#" => {}
                _ if level.contains(['+', '#']) => return Err(TopicError::WildcardInLevel),
                _ => {}
            }
        }
        Ok(Self { text: text.into(), start: u16::try_from(start).map_err(|_| TopicError::GroupTooLong)? })
    }

    /// The whole text, with `$share/<group>/` if it has that.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The filter proper: what topics are matched with.
    pub fn path(&self) -> &str {
        self.text.get(usize::from(self.start)..).unwrap_or_default()
    }

    /// The group of a shared subscription.
    pub fn group(&self) -> Option<&str> {
        let end = usize::from(self.start).checked_sub(1)?;
        self.text.get(SHARE.len()..end)
    }

    /// Whether it is a shared subscription.
    pub fn is_shared(&self) -> bool {
        self.start > 0
    }

    /// Whether a topic matches, by OASIS's rules: `a/#` matches `a`; a leading wildcard matches no topic that starts
    /// with `$`.
    pub fn matches(&self, topic: &str) -> bool {
        matches(self.path(), topic)
    }

    /// `part` of the path: the text of the filter itself, shared, if that is all there is.
    pub(crate) fn shared_text(&self, part: &str) -> Arc<str> {
        if *part == *self.text { Arc::clone(&self.text) } else { part.into() }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a topic or a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Nothing there.
    #[error("it is empty: at least one character is needed")]
    Empty,
    /// Longer than the limit.
    #[error("it has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Its UTF-8 bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More levels than the limit.
    #[error("it has {levels} levels, the limit is {limit}")]
    TooDeep {
        /// Its levels.
        levels: usize,
        /// The limit.
        limit: usize,
    },
    /// U+0000 is in it.
    #[error("it contains U+0000")]
    Nul,
    /// `+` or `#` in a topic name.
    #[error("'+' and '#' are for filters, not for topics")]
    WildcardInTopic,
    /// `a+/b` or `a#`.
    #[error("'+' and '#' must stand alone between slashes")]
    WildcardInLevel,
    /// `#/a`.
    #[error("'#' must be the last level")]
    HashNotLast,
    /// `$share` or `$share/group`.
    #[error("a shared subscription is $share/<group>/<filter>")]
    ShareWithoutFilter,
    /// The group is empty or contains `+`, `#` or U+0000.
    #[error("the group of a shared subscription must not be empty nor contain '+', '#' or U+0000")]
    BadGroup,
    /// The group is longer than [`MAX_GROUP_CHARS`].
    #[error("the group of a shared subscription has more than {MAX_GROUP_CHARS} characters")]
    GroupTooLong,
}

/// Whether `topic` matches the filter `path` (without `$share/<group>/`), level by level.
pub(crate) fn matches(path: &str, topic: &str) -> bool {
    if topic.starts_with('$') && path.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for level in path.split('/') {
        if level == "#" {
            return true;
        }
        match topic_levels.next() {
            Some(topic_level) if level == "+" || level == topic_level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Levels of a topic or filter.
pub(crate) fn levels(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'/').count() + 1
}

/// Basic Ingest's mandatory prefix does not count as levels.
fn without_basic_ingest(text: &str) -> &str {
    let rule = text.strip_prefix("$aws/rules/").and_then(|rest| rest.split_once('/'));
    rule.map_or(text, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits { bytes: 256, levels: 8 };

    #[test]
    fn filters_match_as_the_examples_of_oasis_say() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/player1/#", "sport/tennis/player10", false),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "sport", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player2", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+", "sport", true),
            ("+", "/finance", false),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+/tennis/#", "sport/tennis", true),
            ("+/tennis/#", "sport/tennis/player1", true),
            ("sport/+/player1", "sport/tennis/player1", true),
            ("#", "$SYS/broker", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("+", "$SYS", false),
            ("$SYS/#", "$SYS/broker", true),
            ("$SYS/#", "$SYS", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("a/b", "a/b/", false),
            ("/", "/", true),
            ("ä/+", "ä/ö", true),
        ] {
            assert_eq!(Filter::parse(filter, LIMITS).unwrap().matches(topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn topics_are_refused_for_what_is_wrong_with_them() {
        let long = "x".repeat(257);
        for (topic, expected) in [
            ("a", Ok(())),
            ("/", Ok(())),
            ("a b/ü", Ok(())),
            ("a/b/c/d/e/f/g/h", Ok(())),
            ("$aws/rules/rule/a/b/c/d/e/f/g/h", Ok(())),
            ("", Err(TopicError::Empty)),
            (long.as_str(), Err(TopicError::TooLong { bytes: 257, limit: 256 })),
            ("a/b/c/d/e/f/g/h/i", Err(TopicError::TooDeep { levels: 9, limit: 8 })),
            ("a\0b", Err(TopicError::Nul)),
            ("a/+/b", Err(TopicError::WildcardInTopic)),
            ("a/#", Err(TopicError::WildcardInTopic)),
            ("a#", Err(TopicError::WildcardInTopic)),
        ] {
            assert_eq!(LIMITS.check_topic(topic), expected, "{topic}");
        }
    }

    #[test]
    fn filters_are_refused_for_what_is_wrong_with_them() {
        for (filter, expected) in [
            ("", TopicError::Empty),
            ("sport+", TopicError::WildcardInLevel),
            ("sport/tennis#", TopicError::WildcardInLevel),
            ("sport/tennis/#/ranking", TopicError::HashNotLast),
            ("++", TopicError::WildcardInLevel),
            ("a\0", TopicError::Nul),
            ("a/b/c/d/e/f/g/h/#", TopicError::TooDeep { levels: 9, limit: 8 }),
            ("$share", TopicError::ShareWithoutFilter),
            ("$share/", TopicError::ShareWithoutFilter),
            ("$share/group", TopicError::ShareWithoutFilter),
            ("$share/group/", TopicError::Empty),
            ("$share//a", TopicError::BadGroup),
            ("$share/g+/a", TopicError::BadGroup),
            ("$share/#/a", TopicError::BadGroup),
        ] {
            assert_eq!(Filter::parse(filter, LIMITS), Err(expected), "{filter}");
        }
        let group = "ü".repeat(129);
        assert_eq!(Filter::parse(&format!("$share/{group}/a"), LIMITS), Err(TopicError::GroupTooLong));
    }

    #[test]
    fn a_shared_filter_knows_its_group_and_its_path() {
        let filter = Filter::parse("$share/workers/a/b/c/d/e/f/g/#", LIMITS).unwrap();
        assert_eq!((filter.group(), filter.path()), (Some("workers"), "a/b/c/d/e/f/g/#"));
        let filter = Filter::parse("$shared/a", LIMITS).unwrap();
        assert_eq!((filter.group(), filter.path()), (None, "$shared/a"));
    }
}

//! Topic aliases towards a client: a topic that it was told once costs three bytes from then on (OASIS MQTT 5.0 section
//! 3.3.2.3.4).
use std::sync::Arc;

/// The first topics of a connection have an alias, as many as the client takes and the broker allows. They keep it: a
/// subscriber of many topics does not pay for aliases that are replaced before they are used.
#[derive(Debug, Default)]
pub(super) struct OutboundAliases {
    maximum: u16,
    /// The alias of the first is 1.
    topics: Vec<Arc<str>>,
}

/// How a topic is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alias {
    /// In full.
    None,
    /// In full, with an alias that stands for it from now on.
    New(u16),
    /// By its alias alone.
    Known(u16),
}

impl OutboundAliases {
    /// Shorter topics are no longer than their aliases.
    const WORTH: usize = 4;

    pub(super) fn new(maximum: u16) -> Self {
        Self { maximum, topics: Vec::new() }
    }

    /// How to write a topic now.
    pub(super) fn find(&self, topic: &Arc<str>) -> Alias {
        if self.maximum == 0 || topic.len() < Self::WORTH {
            return Alias::None;
        }
        let known = self.topics.iter().position(|known| Arc::ptr_eq(known, topic) || known == topic);
        let next = known.unwrap_or(self.topics.len());
        match (known, u16::try_from(next + 1)) {
            (Some(_), Ok(alias)) => Alias::Known(alias),
            (None, Ok(alias)) if alias <= self.maximum => Alias::New(alias),
            _ => Alias::None,
        }
    }

    /// A topic was written with a new alias.
    pub(super) fn told(&mut self, topic: &Arc<str>) {
        self.topics.push(Arc::clone(topic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_have_aliases_and_keep_them() {
        let [first, second, third]: [Arc<str>; 3] = ["topic/1".into(), "topic/2".into(), "topic/3".into()];
        let mut aliases = OutboundAliases::new(2);
        assert_eq!(aliases.find(&first), Alias::New(1));
        aliases.told(&first);
        assert_eq!(aliases.find(&"topic/1".into()), Alias::Known(1));
        assert_eq!(aliases.find(&second), Alias::New(2));
        aliases.told(&second);
        assert_eq!(aliases.find(&third), Alias::None);
        assert_eq!((aliases.find(&first), aliases.find(&second)), (Alias::Known(1), Alias::Known(2)));
    }

    #[test]
    fn who_takes_none_gets_none_and_a_short_topic_needs_none() {
        assert_eq!(OutboundAliases::new(0).find(&"topic".into()), Alias::None);
        assert_eq!(OutboundAliases::new(9).find(&"a/b".into()), Alias::None);
    }
}

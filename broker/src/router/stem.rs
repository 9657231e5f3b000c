//! An entry of the router's table: half a cache line, from which a topic of one device's own leads to its session.
use super::branch::Branch;
use super::dense_set::Keyed;
use super::matches::Match;
use super::subscribers::{Subscriber, Subscription, Visit};
use crate::topic::Filter;
use std::sync::Arc;

/// A filter's leading levels without a wildcard, and what is subscribed there and below.
pub(super) struct Stem<S> {
    /// Shared with the filter if that has no more text. Comparing it is not waited for: the session is fetched
    /// meanwhile, as if it were the right one, which it nearly always is.
    name: Arc<str>,
    below: Below<S>,
}

enum Below<S> {
    /// Nothing but one subscription to the stem itself, and that not a shared one.
    One(Subscription<S>),
    /// Anything else.
    Branch(Box<Branch<S>>),
}

/// What removing a subscription left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// There was none.
    Nothing,
    /// Others are still there.
    OneOfMany,
    /// The entry can go.
    Last,
}

impl<S: Subscriber> Stem<S> {
    /// With its first subscription, whose filter goes on with `rest`.
    pub(super) fn new(
        name: &str,
        rest: Option<&str>,
        filter: &Filter,
        subscription: Subscription<S>,
    ) -> Self {
        let below = match rest.is_none() && !filter.is_shared() {
            true => Below::One(subscription),
            false => {
                let mut branch = Box::<Branch<S>>::default();
                branch.add(rest, filter, subscription);
                Below::Branch(branch)
            }
        };
        Self { name: filter.shared_text(name), below }
    }

    /// UTF-8.
    pub(super) fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// Adds a subscription. Returns whether it replaced one.
    pub(super) fn add(&mut self, rest: Option<&str>, filter: &Filter, subscription: Subscription<S>) -> bool {
        match &mut self.below {
            Below::Branch(branch) => branch.add(rest, filter, subscription),
            Below::One(present)
                if rest.is_none() && !filter.is_shared() && present.key() == subscription.key() =>
            {
                *present = subscription;
                true
            }
            Below::One(present) => {
                let mut branch = Box::new(Branch::of_one(present.clone()));
                let replaced = branch.add(rest, filter, subscription);
                self.below = Below::Branch(branch);
                replaced
            }
        }
    }

    pub(super) fn remove(&mut self, rest: Option<&str>, filter: &Filter, key: u64) -> Removed {
        match &mut self.below {
            Below::One(present) if rest.is_none() && !filter.is_shared() && present.key() == key => {
                Removed::Last
            }
            Below::One(_) => Removed::Nothing,
            Below::Branch(branch) => {
                if !branch.remove(rest, filter, key) {
                    return Removed::Nothing;
                }
                if branch.is_empty() {
                    return Removed::Last;
                }
                if let Some(only) = branch.only_one() {
                    self.below = Below::One(only.clone());
                }
                Removed::OneOfMany
            }
        }
    }

    /// Collects from here on, with `rest` of the topic to go.
    pub(super) fn visit(&self, rest: Option<&str>, visit: &mut Visit<'_, S>) {
        match &self.below {
            Below::One(subscription) if rest.is_none() => visit.collect(subscription),
            Below::One(_) => {}
            Below::Branch(branch) => branch.visit(rest, visit),
        }
    }

    /// Does any subscription match from here on?
    pub(super) fn matches(&self, rest: Option<&str>, hash_matches_parent: bool) -> bool {
        match &self.below {
            Below::One(_) => rest.is_none(),
            Below::Branch(branch) => branch.matches(rest, hash_matches_parent),
        }
    }

    /// A member of the filter's group other than `except`.
    pub(super) fn choose(&self, rest: Option<&str>, filter: &Filter, except: u64) -> Option<Match<S>> {
        match &self.below {
            Below::One(_) => None,
            Below::Branch(branch) => branch.find(rest)?.choose(filter, except),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::QoS;
    use crate::router::Standing;
    use crate::topic::TopicLimits;

    #[derive(Clone)]
    struct Client(Arc<u64>);

    impl Keyed for Client {
        fn key(&self) -> u64 {
            *self.0
        }
    }

    impl Subscriber for Client {
        fn standing(&self) -> Standing {
            Standing::Online
        }
    }

    fn filter(text: &str) -> Filter {
        Filter::parse(text, TopicLimits { bytes: 256, levels: 8 }).unwrap()
    }

    fn subscription(key: u64) -> Subscription<Client> {
        Subscription {
            subscriber: Client(Arc::new(key)),
            identifier: None,
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
        }
    }

    #[test]
    fn two_entries_fit_into_a_cache_line() {
        assert_eq!(size_of::<Stem<Client>>(), 32);
    }

    #[test]
    fn a_filter_of_one_device_needs_no_memory_but_its_entry() {
        let own = filter("fleet/1/commands");
        let mut stem = Stem::new(own.path(), None, &own, subscription(1));
        assert!(matches!(stem.below, Below::One(_)) && std::ptr::eq(stem.name(), own.as_str().as_bytes()));
        assert!(stem.add(None, &own, subscription(1)), "replaced");
        assert!(matches!(stem.below, Below::One(_)));

        let shared = filter("$share/group/fleet/1/commands");
        for (other, rest, key) in [(&own, None, 2), (&shared, None, 1), (&own, Some("#"), 1)] {
            assert!(!stem.add(rest, other, subscription(key)));
            assert!(matches!(stem.below, Below::Branch(_)));
            assert_eq!(stem.remove(rest, other, 9), Removed::Nothing);
            assert_eq!(stem.remove(rest, other, key), Removed::OneOfMany);
            assert!(matches!(stem.below, Below::One(_)), "as it was");
            assert_eq!(stem.remove(rest, other, key), Removed::Nothing);
        }
        assert_eq!(stem.remove(None, &own, 1), Removed::Last);
    }
}

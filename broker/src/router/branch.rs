//! The trie of levels.
use super::subscribers::{Subscriber, Subscribers, Subscription, Visit};
use crate::topic::Filter;
use hashbrown::HashMap;

/// A position in filters. Depth is bounded by [`crate::topic::MAX_LEVELS`], and so is the recursion here.
pub(super) struct Branch<S> {
    /// Of filters that end here.
    here: Subscribers<S>,
    /// Of filters that go on.
    below: Option<Box<Below<S>>>,
}

struct Below<S> {
    /// Of filters that end here with `#`.
    all: Subscribers<S>,
    /// The next level is `+`.
    plus: Option<Branch<S>>,
    /// The next level is this.
    levels: HashMap<Box<str>, Branch<S>>,
}

impl<S> Default for Branch<S> {
    fn default() -> Self {
        Self { here: Subscribers::default(), below: None }
    }
}

impl<S> Default for Below<S> {
    fn default() -> Self {
        Self { all: Subscribers::default(), plus: None, levels: HashMap::new() }
    }
}

impl<S: Subscriber> Branch<S> {
    /// With one subscription that ends here.
    pub(super) fn of_one(subscription: Subscription<S>) -> Self {
        Self { here: Subscribers::of_one(subscription), below: None }
    }

    /// The subscription that ends here, if it is the only one at all and not a shared one.
    pub(super) fn only_one(&self) -> Option<&Subscription<S>> {
        if self.below.is_none() { self.here.only_one() } else { None }
    }

    /// Adds a subscription whose filter goes on with `rest`. Returns whether it replaced one.
    pub(super) fn add(&mut self, rest: Option<&str>, filter: &Filter, subscription: Subscription<S>) -> bool {
        let Some(rest) = rest else { return self.here.add(filter, subscription) };
        let below = self.below.get_or_insert_default();
        if rest == "#" {
            return below.all.add(filter, subscription);
        }
        let (level, rest) = first_level(rest);
        let next = match level {
            "+" => below.plus.get_or_insert_default(),
            _ => below.levels.entry_ref(level).or_default(),
        };
        next.add(rest, filter, subscription)
    }

    /// Removes a subscription and whatever is empty then. Returns whether there was one.
    pub(super) fn remove(&mut self, rest: Option<&str>, filter: &Filter, key: u64) -> bool {
        let Some(rest) = rest else { return self.here.remove(filter, key) };
        let Some(below) = &mut self.below else { return false };
        let removed = below.remove(rest, filter, key);
        if below.is_empty() {
            self.below = None;
        }
        removed
    }

    /// Collects from here on, with `rest` of the topic to go.
    pub(super) fn visit(&self, rest: Option<&str>, visit: &mut Visit<'_, S>) {
        match (rest, &self.below) {
            (None, below) => {
                self.here.collect(visit);
                if visit.hash_matches_parent
                    && let Some(below) = below
                {
                    below.all.collect(visit);
                }
            }
            (Some(_), None) => {}
            (Some(rest), Some(below)) => {
                below.all.collect(visit);
                let (level, rest) = first_level(rest);
                if let Some(plus) = &below.plus {
                    plus.visit(rest, visit);
                }
                if !below.levels.is_empty()
                    && let Some(next) = below.levels.get(level)
                {
                    next.visit(rest, visit);
                }
            }
        }
    }

    /// Is there a subscription from here on, with `rest` of the topic to go?
    pub(super) fn matches(&self, rest: Option<&str>, hash_matches_parent: bool) -> bool {
        let Some(rest) = rest else {
            let all = self.below.as_ref().filter(|_| hash_matches_parent);
            return !self.here.is_empty() || all.is_some_and(|below| !below.all.is_empty());
        };
        let Some(below) = &self.below else { return false };
        let (level, rest) = first_level(rest);
        let goes_on = |branch: &Self| branch.matches(rest, hash_matches_parent);
        !below.all.is_empty()
            || below.plus.as_ref().is_some_and(goes_on)
            || below.levels.get(level).is_some_and(goes_on)
    }

    /// The subscribers of the filter that goes on with `rest`.
    pub(super) fn find(&self, rest: Option<&str>) -> Option<&Subscribers<S>> {
        let Some(rest) = rest else { return Some(&self.here) };
        let below = self.below.as_ref()?;
        if rest == "#" {
            return Some(&below.all);
        }
        let (level, rest) = first_level(rest);
        let next = if level == "+" { below.plus.as_ref() } else { below.levels.get(level) };
        next?.find(rest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_none()
    }
}

impl<S: Subscriber> Below<S> {
    fn remove(&mut self, rest: &str, filter: &Filter, key: u64) -> bool {
        if rest == "#" {
            return self.all.remove(filter, key);
        }
        let (level, rest) = first_level(rest);
        if level == "+" {
            let Some(plus) = &mut self.plus else { return false };
            let removed = plus.remove(rest, filter, key);
            if plus.is_empty() {
                self.plus = None;
            }
            return removed;
        }
        let Some(next) = self.levels.get_mut(level) else { return false };
        let removed = next.remove(rest, filter, key);
        if next.is_empty() {
            self.levels.remove(level);
            if self.levels.len() < self.levels.capacity() / 4 {
                self.levels.shrink_to_fit();
            }
        }
        removed
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.plus.is_none() && self.levels.is_empty()
    }
}

fn first_level(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('/') {
        None => (rest, None),
        Some((level, rest)) => (level, Some(rest)),
    }
}

//! Which sessions a topic goes to.
//!
//! A filter's leading levels without a wildcard, its *stem*, are looked up in a hash table; from its first wildcard on it
//! lives in a trie of levels below its stem. `fleet/dev1/commands` is all stem, `fleet/dev1/#` has the stem `fleet/dev1`,
//! `fleet/+/state` the stem `fleet`. So a publish looks up those stems of its topic at whose depth there are wildcards at
//! all, and itself: its cost depends on the depth of the topic and on what matches, not on how many filters there are. A
//! filter of one device's own costs one table entry of half a cache line. Of a filter that very many subscribe to a publish takes
//! a snapshot, to walk it later and a part at a time. The table is cut into shards by hash, each with a lock that is held
//! for one lookup or one change; filters that start with a wildcard have a trie and a lock of their own.

mod branch;
mod dense_set;
mod matches;
mod single;
mod snapshot_set;
mod stem;
mod subscribers;

pub(crate) use dense_set::{DenseSet, Keyed};
pub(crate) use matches::{Match, Matches, Walk};
pub(crate) use single::MANY;
pub(crate) use subscribers::{Standing, Subscriber, Subscription};

use crate::topic::{Filter, MAX_LEVELS};
use branch::Branch;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use parking_lot::RwLock;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use stem::{Removed, Stem};
use subscribers::Visit;

/// All subscriptions, and the matching of topics with them. Safe to share between threads.
pub(crate) struct Router<S> {
    hash_matches_parent: bool,
    hasher: DefaultHashBuilder,
    /// Filters whose first level is a wildcard.
    stemless: RwLock<Branch<S>>,
    shards: Box<[Shard<S>]>,
    /// How many subscriptions have a wildcard, by the levels of their stem.
    wildcards: Box<[AtomicUsize]>,
    subscriptions: AtomicUsize,
    /// How often a subscription came, went, or was replaced.
    changes: AtomicU64,
}

/// One cache line each, so that two cores that look up different topics do not disturb each other.
#[repr(align(64))]
struct Shard<S>(RwLock<HashTable<Stem<S>>>);

const SHARDS: usize = 64;

impl<S: Subscriber> Router<S> {
    /// An empty router. `hash_matches_parent`: whether `a/#` matches `a`.
    pub(crate) fn new(hash_matches_parent: bool) -> Self {
        Self {
            hash_matches_parent,
            hasher: DefaultHashBuilder::default(),
            stemless: RwLock::default(),
            shards: (0..SHARDS).map(|_| Shard(RwLock::new(HashTable::new()))).collect(),
            wildcards: (0..=MAX_LEVELS).map(|_| AtomicUsize::new(0)).collect(),
            subscriptions: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
        }
    }

    /// Adds a subscription, or replaces that of the same subscriber to the same filter. Returns whether it replaced one.
    pub(crate) fn subscribe(&self, filter: &Filter, subscription: Subscription<S>) -> bool {
        let parts = Parts::of(filter);
        let replaced = match parts.stem {
            None => self.stemless.write().add(parts.rest, filter, subscription),
            Some(stem) => {
                let hash = self.hash(stem.as_bytes());
                let mut table = self.shard(hash).0.write();
                match table.entry(
                    hash,
                    |entry| entry.name() == stem.as_bytes(),
                    |entry| self.hash(entry.name()),
                ) {
                    Entry::Occupied(mut entry) => entry.get_mut().add(parts.rest, filter, subscription),
                    Entry::Vacant(entry) => {
                        entry.insert(Stem::new(stem, parts.rest, filter, subscription));
                        false
                    }
                }
            }
        };
        if !replaced {
            self.count_wildcard(&parts, |count| count.fetch_add(1, Ordering::Release));
            self.subscriptions.fetch_add(1, Ordering::Relaxed);
        }
        self.changes.fetch_add(1, Ordering::Release);
        replaced
    }

    /// Removes a subscription, and with the last one of a filter all that the filter occupied. Returns whether there was
    /// one.
    pub(crate) fn unsubscribe(&self, filter: &Filter, subscriber: &S) -> bool {
        let parts = Parts::of(filter);
        let removed = match parts.stem {
            None => self.stemless.write().remove(parts.rest, filter, subscriber.key()),
            Some(stem) => self.remove_below(stem, parts.rest, filter, subscriber),
        };
        if removed {
            self.count_wildcard(&parts, |count| count.fetch_sub(1, Ordering::Release));
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
            self.changes.fetch_add(1, Ordering::Release);
        }
        removed
    }

    fn remove_below(&self, stem: &str, rest: Option<&str>, filter: &Filter, subscriber: &S) -> bool {
        let hash = self.hash(stem.as_bytes());
        let mut table = self.shard(hash).0.write();
        let Ok(mut entry) = table.find_entry(hash, |entry| entry.name() == stem.as_bytes()) else {
            return false;
        };
        let removed = entry.get_mut().remove(rest, filter, subscriber.key());
        if removed == Removed::Last {
            entry.remove();
            if table.is_empty() {
                *table = HashTable::new();
            } else if table.len() < table.capacity() / 4 {
                table.shrink_to_fit(|entry| self.hash(entry.name()));
            }
        }
        removed != Removed::Nothing
    }

    /// Collects who gets a message on `topic`: every subscription that matches, and one member of every group of a
    /// shared subscription that does.
    pub(crate) fn collect(&self, topic: &str, matches: &mut Matches<S>) {
        let mut visit = Visit { hash_matches_parent: self.hash_matches_parent, matches: &mut *matches };
        if self.has_wildcards(0) && !topic.starts_with('$') {
            self.stemless.read().visit(Some(topic), &mut visit);
        }
        for (depth, slash) in slashes(topic).enumerate() {
            if self.has_wildcards(depth + 1)
                && let Some((stem, rest)) = split_at_slash(topic, slash)
            {
                self.visit_stem(stem, Some(rest), &mut visit);
            }
        }
        self.visit_stem(topic, None, &mut visit);
        // There were more when their filter was found to have very many.
        match matches.len() > MANY {
            true => matches.put_the_same_subscriber_together(),
            false => matches.gather(),
        }
    }

    /// Grows with every change: while it is what it was before a topic's matches were collected, they are the same.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Does any subscription match `topic`? Leaves the turns of shared subscriptions as they are.
    pub(crate) fn has_subscriber(&self, topic: &str) -> bool {
        let parent = self.hash_matches_parent;
        let at_stem = |stem: &str, rest| {
            let hash = self.hash(stem.as_bytes());
            let table = self.shard(hash).0.read();
            table
                .find(hash, |entry| entry.name() == stem.as_bytes())
                .is_some_and(|entry| entry.matches(rest, parent))
        };
        let stemless = self.has_wildcards(0) && !topic.starts_with('$');
        let above = |(depth, slash)| {
            self.has_wildcards(depth + 1)
                && split_at_slash(topic, slash).is_some_and(|(stem, rest)| at_stem(stem, Some(rest)))
        };
        (stemless && self.stemless.read().matches(Some(topic), parent))
            || slashes(topic).enumerate().any(above)
            || at_stem(topic, None)
    }

    /// A member of the group of a shared subscription other than `except`: one that is online if there is one.
    pub(crate) fn choose(&self, filter: &Filter, except: u64) -> Option<Match<S>> {
        let parts = Parts::of(filter);
        match parts.stem {
            None => self.stemless.read().find(parts.rest)?.choose(filter, except),
            Some(stem) => {
                let hash = self.hash(stem.as_bytes());
                let table = self.shard(hash).0.read();
                let entry = table.find(hash, |entry| entry.name() == stem.as_bytes())?;
                entry.choose(parts.rest, filter, except)
            }
        }
    }

    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.subscriptions.load(Ordering::Relaxed)
    }

    fn visit_stem(&self, stem: &str, rest: Option<&str>, visit: &mut Visit<'_, S>) {
        let hash = self.hash(stem.as_bytes());
        let table = self.shard(hash).0.read();
        if let Some(entry) = table.find(hash, |entry| entry.name() == stem.as_bytes()) {
            entry.visit(rest, visit);
        }
    }

    fn hash(&self, stem: &[u8]) -> u64 {
        self.hasher.hash_one(stem)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the remainder is below the number of shards, which is fixed"
    )]
    fn shard(&self, hash: u64) -> &Shard<S> {
        // hashbrown uses the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn has_wildcards(&self, stem_levels: usize) -> bool {
        self.wildcards.get(stem_levels).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    fn count_wildcard(&self, parts: &Parts<'_>, change: impl Fn(&AtomicUsize) -> usize) {
        if parts.rest.is_some()
            && let Some(count) = self.wildcards.get(parts.stem_levels)
        {
            change(count);
        }
    }

    /// Stems, branches and subscriptions that occupy memory: all zero when nobody subscribes.
    #[cfg(test)]
    pub(crate) fn occupied(&self) -> (usize, usize, usize) {
        let tables = self.shards.iter().map(|shard| shard.0.read().capacity()).sum();
        (tables, usize::from(!self.stemless.read().is_empty()), self.len())
    }
}

/// A filter cut before its first wildcard.
struct Parts<'f> {
    /// `None` if the first level is a wildcard. (An empty first level is a stem, too: of `/a`.)
    stem: Option<&'f str>,
    stem_levels: usize,
    /// From the first wildcard on.
    rest: Option<&'f str>,
}

impl<'f> Parts<'f> {
    fn of(filter: &'f Filter) -> Self {
        let path = filter.path();
        let Some(wildcard) = path.find(['+', '#']) else {
            return Self { stem: Some(path), stem_levels: crate::topic::levels(path), rest: None };
        };
        match wildcard.checked_sub(1).and_then(|slash| split_at_slash(path, slash)) {
            None => Self { stem: None, stem_levels: 0, rest: Some(path) },
            Some((stem, rest)) => {
                Self { stem: Some(stem), stem_levels: crate::topic::levels(stem), rest: Some(rest) }
            }
        }
    }
}

/// Where the levels of a topic end. Topics are short: a search that is made for long texts takes longer.
fn slashes(topic: &str) -> impl Iterator<Item = usize> {
    topic.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(place, _)| place)
}

fn split_at_slash(text: &str, slash: usize) -> Option<(&str, &str)> {
    Some((text.get(..slash)?, text.get(slash + 1..)?))
}

#[cfg(test)]
mod tests;

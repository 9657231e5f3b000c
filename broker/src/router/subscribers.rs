//! Who subscribes to one filter, and the choice of one member of a shared subscription.
use super::dense_set::{DenseSet, Keyed};
use super::matches::{Match, Matches};
use super::single::Single;
use crate::message::QoS;
use crate::topic::Filter;
use hashbrown::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the router knows of a subscriber: a number, and whether a message would find it.
pub(crate) trait Subscriber: Keyed + Clone {
    fn standing(&self) -> Standing;
}

/// Whether a message would find a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has a connection.
    Online,
    /// It will come back for what is queued.
    Offline,
    /// It is ending.
    Gone,
}

/// One subscriber's subscription to one filter.
#[derive(Clone)]
pub(crate) struct Subscription<S> {
    pub(crate) subscriber: S,
    pub(crate) identifier: Option<NonZeroU32>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
}

impl<S: Keyed> Keyed for Subscription<S> {
    fn key(&self) -> u64 {
        self.subscriber.key()
    }
}

/// One topic's way through the trie.
pub(super) struct Visit<'m, S> {
    pub(super) hash_matches_parent: bool,
    pub(super) matches: &'m mut Matches<S>,
}

/// Who subscribes to one filter, alone or in groups.
pub(super) struct Subscribers<S> {
    single: Single<S>,
    groups: Option<Box<HashMap<Box<str>, Group<S>>>>,
}

/// The members of one shared subscription.
struct Group<S> {
    filter: Arc<Filter>,
    members: DenseSet<Subscription<S>>,
    /// Whose turn it is.
    turn: AtomicUsize,
}

impl<S> Default for Subscribers<S> {
    fn default() -> Self {
        Self { single: Single::default(), groups: None }
    }
}

impl<S: Subscriber> Visit<'_, S> {
    /// The only subscription of its filter.
    pub(super) fn collect(&mut self, subscription: &Subscription<S>) {
        self.matches.add([subscription], None);
    }
}

impl<S: Subscriber> Subscribers<S> {
    pub(super) fn of_one(subscription: Subscription<S>) -> Self {
        let mut single = Single::default();
        single.insert(subscription);
        Self { single, groups: None }
    }

    /// The subscription, if there is one alone and it is not a shared one.
    pub(super) fn only_one(&self) -> Option<&Subscription<S>> {
        self.single.only_one().filter(|_| self.groups.is_none())
    }

    pub(super) fn add(&mut self, filter: &Filter, subscription: Subscription<S>) -> bool {
        let Some(name) = filter.group() else { return self.single.insert(subscription) };
        let group = self.groups.get_or_insert_default().entry_ref(name).or_insert_with(|| Group {
            filter: Arc::new(filter.clone()),
            members: DenseSet::default(),
            turn: AtomicUsize::new(0),
        });
        group.members.insert(subscription).is_some()
    }

    pub(super) fn remove(&mut self, filter: &Filter, key: u64) -> bool {
        let Some(name) = filter.group() else { return self.single.remove(key) };
        let Some(groups) = &mut self.groups else { return false };
        let Some(group) = groups.get_mut(name) else { return false };
        let removed = group.members.remove(key).is_some();
        if group.members.is_empty() {
            groups.remove(name);
        }
        if groups.is_empty() {
            self.groups = None;
        } else if groups.len() < groups.capacity() / 4 {
            groups.shrink_to_fit();
        }
        removed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.single.is_empty() && self.groups.is_none()
    }

    pub(super) fn collect(&self, visit: &mut Visit<'_, S>) {
        let chosen =
            self.groups.iter().flat_map(|groups| groups.values()).filter_map(|group| group.choose(None));
        match &self.single {
            Single::Few(few) => visit.matches.add(few.as_slice(), chosen),
            Single::Many(many) => {
                visit.matches.add([], chosen);
                visit.matches.add_many(many.snapshot());
            }
        }
    }

    /// A member of the filter's group other than `except`.
    pub(super) fn choose(&self, filter: &Filter, except: u64) -> Option<Match<S>> {
        self.groups.as_ref()?.get(filter.group()?)?.choose(Some(except))
    }
}

impl<S: Subscriber> Subscription<S> {
    /// Not what it published itself, with No Local.
    pub(super) fn wants(&self, publisher: Option<u64>) -> bool {
        !(self.no_local && publisher == Some(self.key()))
    }

    pub(super) fn matched(&self, shared: Option<Arc<Filter>>) -> Match<S> {
        Match {
            subscriber: self.subscriber.clone(),
            shared,
            identifier: self.identifier,
            qos: self.qos,
            retain_as_published: self.retain_as_published,
        }
    }
}

impl<S: Subscriber> Group<S> {
    /// Members in turn; one that is offline only if none is online.
    fn choose(&self, except: Option<u64>) -> Option<Match<S>> {
        let members = self.members.as_slice();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(members.len())?;
        let (before, from) = members.split_at_checked(turn)?;
        let mut second_best = None;
        for member in from.iter().chain(before) {
            if except == Some(member.key()) {
                continue;
            }
            match member.subscriber.standing() {
                Standing::Online => return Some(member.matched(Some(Arc::clone(&self.filter)))),
                Standing::Offline => second_best = second_best.or(Some(member)),
                Standing::Gone => {}
            }
        }
        second_best.map(|member| member.matched(Some(Arc::clone(&self.filter))))
    }
}

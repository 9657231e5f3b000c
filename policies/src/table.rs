//! The index that answers requests for one kind of resource.
use crate::Action;
use crate::action::ActionSet;
use crate::glob::{self, Pattern};
use smallvec::SmallVec;
use std::ops::Range;

/// Patterns for the names of one kind of resource, sorted by what stands before their first wildcard.
///
/// All patterns whose literal prefix is a prefix of a name are found by one binary search: the longest such prefix is
/// the greatest entry not above the name, or one of its parents, and all others are parents of that one.
#[derive(Debug)]
pub(crate) struct Table {
    text: Box<[u8]>,
    groups: Box<[Group]>,
    entries: Box<[Entry]>,
    exceptions: Box<[Exception]>,
}

/// Patterns with the same literal prefix.
#[derive(Debug)]
struct Group {
    prefix: Range<usize>,
    /// The group with the longest prefix that is a prefix of this one, among those that have a wildcard.
    parent: Option<u32>,
    entries: Range<u32>,
}

#[derive(Debug)]
struct Entry {
    /// What follows the literal prefix.
    rest: Range<usize>,
    target: Target,
}

/// A `NotResource` statement.
#[derive(Debug)]
struct Exception {
    patterns: Box<[Range<usize>]>,
    target: Target,
}

/// The statement behind a pattern.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Its position among the compiled statements.
    pub(crate) statement: u32,
    pub(crate) actions: ActionSet,
    pub(crate) deny: bool,
}

/// The first statement of each effect that matches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Matches {
    pub(crate) deny: Option<u32>,
    pub(crate) allow: Option<u32>,
}

impl Matches {
    /// Whether a match of this statement would change the answer.
    fn wants(&self, target: &Target) -> bool {
        let best = if target.deny { self.deny } else { self.allow };
        best.is_none_or(|best| target.statement < best) && (target.deny || self.deny.is_none())
    }

    fn add(&mut self, target: &Target) {
        *(if target.deny { &mut self.deny } else { &mut self.allow }) = Some(target.statement);
    }
}

impl Table {
    /// Adds what matches. Allocates nothing.
    pub(crate) fn find(&self, action: Action, name: &str, matches: &mut Matches) {
        let name = name.as_bytes();
        let mut next = self.groups.partition_point(|group| self.text(&group.prefix) <= name).checked_sub(1);
        let mut common = None;
        while let Some(group) = next.and_then(|index| self.groups.get(index)) {
            let common = *common.get_or_insert_with(|| common_length(self.text(&group.prefix), name));
            if group.prefix.len() <= common {
                let name = name.get(group.prefix.len()..).unwrap_or_default();
                self.find_in(group, action, name, matches);
            }
            next = group.parent.map(|index| index as usize);
        }
        for Exception { patterns, target } in &self.exceptions {
            let applies = target.actions.contains(action) && matches.wants(target);
            if applies && !patterns.iter().any(|pattern| glob::matches(self.text(pattern), name)) {
                matches.add(target);
            }
        }
    }

    fn find_in(&self, group: &Group, action: Action, rest: &[u8], matches: &mut Matches) {
        let entries = group.entries.start as usize..group.entries.end as usize;
        for Entry { rest: pattern, target } in self.entries.get(entries).unwrap_or_default() {
            let applies = target.actions.contains(action) && matches.wants(target);
            if applies && glob::matches(self.text(pattern), rest) {
                matches.add(target);
            }
        }
    }

    fn text(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Collects the patterns of a table.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    text: Vec<u8>,
    patterns: Vec<(Range<usize>, Target)>,
    exceptions: Vec<Exception>,
}

impl Builder {
    /// Adds a statement; `false` if it can never apply to a resource that starts with `resource_prefix`.
    pub(crate) fn add(
        &mut self,
        patterns: &[Pattern],
        inverted: bool,
        resource_prefix: &str,
        target: Target,
    ) -> bool {
        let mut ranges = SmallVec::<[_; 4]>::new();
        for pattern in patterns {
            let offsets = pattern.offsets_after(resource_prefix);
            let Some(first) = offsets.first() else { continue };
            let start = self.text.len();
            self.text.extend_from_slice(pattern.as_bytes().get(*first..).unwrap_or_default());
            ranges.extend(offsets.iter().map(|offset| start + (offset - first)..self.text.len()));
        }
        if inverted {
            self.exceptions.push(Exception { patterns: ranges.into_boxed_slice(), target });
            return true;
        }
        let applies = !ranges.is_empty();
        self.patterns.extend(ranges.into_iter().map(|range| (range, target)));
        applies
    }

    /// `None` if there is nothing in it.
    pub(crate) fn build(self) -> Option<Table> {
        let Self { text, patterns, exceptions } = self;
        if patterns.is_empty() && exceptions.is_empty() {
            return None;
        }
        let slice = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let mut patterns: Vec<(Range<usize>, Range<usize>, Target)> = patterns
            .into_iter()
            .map(|(range, target)| {
                let middle = range.start + glob::literal_prefix(slice(&range)).len();
                (range.start..middle, middle..range.end, target)
            })
            .collect();
        // Deny first: once one matches, nothing else of the group needs a look.
        patterns.sort_by(|(a, _, x), (b, _, y)| {
            slice(a).cmp(slice(b)).then(y.deny.cmp(&x.deny)).then(x.statement.cmp(&y.statement))
        });

        let mut groups: Vec<Group> = Vec::new();
        let mut entries = Vec::with_capacity(patterns.len());
        let mut ancestors: Vec<(u32, &[u8])> = Vec::new();
        for chunk in patterns.chunk_by(|(a, ..), (b, ..)| slice(a) == slice(b)) {
            let Some((prefix, ..)) = chunk.first() else { continue };
            while ancestors.last().is_some_and(|(_, ancestor)| !slice(prefix).starts_with(ancestor)) {
                ancestors.pop();
            }
            let start = entries.len() as u32;
            entries
                .extend(chunk.iter().map(|(_, rest, target)| Entry { rest: rest.clone(), target: *target }));
            let index = groups.len() as u32;
            let parent = ancestors.last().map(|(index, _)| *index);
            groups.push(Group { prefix: prefix.clone(), parent, entries: start..entries.len() as u32 });
            if chunk.iter().any(|(_, rest, _)| !rest.is_empty()) {
                ancestors.push((index, slice(prefix)));
            }
        }
        Some(Table {
            groups: groups.into(),
            entries: entries.into(),
            exceptions: exceptions.into(),
            text: text.into(),
        })
    }
}

//! The last message of every topic that was published with RETAIN.
use crate::backend::PublishError;
use crate::message::Message;
use crate::session::durable::Owed;
use parking_lot::RwLock;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::time::Instant;

/// Retained messages, ordered by topic, level by level: what is below a topic comes right behind it. So a filter is
/// matched by jumping from match to match, and unrelated topics cost nothing but the depth of the tree.
pub(crate) struct Retained {
    limit: usize,
    store: RwLock<Store>,
}

#[derive(Default)]
struct Store {
    messages: BTreeMap<Topic, Arc<Message>>,
    /// Those that expire, soonest first.
    expiring: BTreeSet<(Instant, Topic)>,
}

/// How many topics are looked at before the lock is given back to publishers.
const BATCH: usize = 512;

/// How many times in one go: it bounds how long one subscriber occupies a thread.
const BATCHES: usize = 8;

impl Retained {
    /// Empty, for at most `limit` messages.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, store: RwLock::default() }
    }

    /// Keeps a message instead of the topic's previous one; an empty payload only deletes that. Returns the topics whose
    /// messages had expired and made room.
    pub(crate) fn set(&self, message: &Arc<Message>) -> Result<Vec<Arc<str>>, PublishError> {
        if message.topic.starts_with('$') {
            return Err(PublishError::RetainedReserved);
        }
        let topic = Topic(Arc::clone(&message.topic));
        let mut store = self.store.write();
        if message.payload.is_empty() {
            store.remove(&topic);
            return Ok(Vec::new());
        }
        let mut expired = Vec::new();
        if store.messages.len() >= self.limit && !store.messages.contains_key(&topic) {
            expired = store.remove_expired(Instant::now());
            if store.messages.len() >= self.limit {
                return Err(PublishError::RetainedFull { limit: self.limit });
            }
        }
        store.insert(topic, Arc::clone(message));
        Ok(expired)
    }

    /// Takes in messages of an earlier process, each of another topic, whatever the limit is now.
    pub(crate) fn restore(&self, messages: impl Iterator<Item = Message>) {
        let mut store = self.store.write();
        for message in messages {
            store.add(Topic(Arc::clone(&message.topic)), Arc::new(message));
        }
    }

    /// The message of a topic.
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<Message>> {
        let store = self.store.read();
        let found = store.messages.get(&Topic(topic.into()))?;
        (!found.is_expired(Instant::now())).then(|| Arc::clone(found))
    }

    /// The messages behind a topic, in their order, at most so many.
    pub(crate) fn after(&self, topic: Option<&str>, limit: usize) -> Vec<Arc<Message>> {
        let after = topic.map_or(Bound::Unbounded, |topic| Bound::Excluded(Topic(topic.into())));
        let now = Instant::now();
        let store = self.store.read();
        let found = store.messages.range((after, Bound::Unbounded)).map(|(_, message)| message);
        found.filter(|message| !message.is_expired(now)).take(limit).cloned().collect()
    }

    /// Forgets all of them, and returns their topics. Their memory is given back as those are taken.
    pub(crate) fn clear(&self) -> impl Iterator<Item = Arc<str>> + use<> {
        let Store { messages, expiring } = std::mem::take(&mut *self.store.write());
        let mut expiring = expiring.into_iter();
        messages.into_keys().inspect(move |_| drop(expiring.next())).map(|topic| topic.0)
    }

    /// Whether there is one of this topic, expired or not.
    pub(crate) fn has(&self, topic: &Arc<str>) -> bool {
        self.store.read().messages.contains_key(&Topic(Arc::clone(topic)))
    }

    /// Whether a filter without `$share/<group>/` may match any: known for one without wildcards, and where there is none at
    /// all.
    pub(crate) fn may_match(&self, path: &str) -> bool {
        let store = self.store.read();
        let exact = !path.contains(['+', '#']);
        !store.messages.is_empty() && (!exact || store.messages.contains_key(&Topic(path.into())))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.store.read().messages.len()
    }

    /// Hands the next matches of a scan to `take` until that breaks or it is another's turn; returns whether the scan is
    /// through. A message that `take` broke at comes again. What is retained meanwhile on a topic that the scan has passed is not seen.
    pub(crate) fn scan(
        &self,
        scan: &mut Scan,
        take: &mut impl FnMut(&Arc<Message>) -> ControlFlow<()>,
    ) -> bool {
        let now = Instant::now();
        for _ in 0..BATCHES {
            let store = self.store.read();
            for _ in 0..BATCH {
                let from = (std::mem::replace(&mut scan.from, Bound::Unbounded), Bound::Unbounded);
                let Some((topic, message)) = store.messages.range(from).next() else {
                    return true;
                };
                scan.from = match compare(&scan.path, &topic.0) {
                    Step::Finished => return true,
                    Step::To(next) => Bound::Included(Topic(next.into())),
                    Step::Next => Bound::Excluded(topic.clone()),
                    Step::Match => {
                        if !message.is_expired(now) && take(message).is_break() {
                            scan.from = Bound::Included(topic.clone());
                            return false;
                        }
                        Bound::Excluded(topic.clone())
                    }
                };
            }
        }
        false
    }
}

impl Store {
    fn insert(&mut self, topic: Topic, message: Arc<Message>) {
        self.remove(&topic);
        self.add(topic, message);
    }

    /// Of a topic that has none.
    fn add(&mut self, topic: Topic, message: Arc<Message>) {
        if let Some(at) = message.expires_at {
            self.expiring.insert((at, topic.clone()));
        }
        self.messages.insert(topic, message);
    }

    fn remove(&mut self, topic: &Topic) {
        if let Some(old) = self.messages.remove(topic)
            && let Some(at) = old.expires_at
        {
            self.expiring.remove(&(at, topic.clone()));
        }
    }

    fn remove_expired(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut expired = Vec::new();
        while let Some((at, topic)) = self.expiring.pop_first() {
            if at > now {
                self.expiring.insert((at, topic));
                break;
            }
            self.messages.remove(&topic);
            expired.push(topic.0);
        }
        expired
    }
}

/// A filter's way through the retained messages, to be continued when there is room for more.
#[derive(Debug)]
pub(crate) struct Scan {
    path: Box<str>,
    from: Bound<Topic>,
}

impl Scan {
    /// From the beginning, for a filter without `$share/<group>/`.
    pub(crate) fn new(path: &str) -> Self {
        // Nothing before the literal beginning can match.
        let literal = path.split_once(['+', '#']).map_or(path, |(literal, _)| literal);
        let start = literal.strip_suffix('/').unwrap_or(literal);
        Self { path: path.into(), from: Bound::Included(Topic(start.into())) }
    }

    /// From where another scan of the same filter has come to.
    pub(crate) fn from(path: &str, owed: &Owed) -> Self {
        let topic = Topic(Arc::clone(&owed.topic));
        let from = if owed.with_it { Bound::Included(topic) } else { Bound::Excluded(topic) };
        Self { path: path.into(), from }
    }

    /// What is left of it.
    pub(crate) fn owed(&self) -> Option<Owed> {
        match &self.from {
            Bound::Included(topic) => Some(Owed { topic: Arc::clone(&topic.0), with_it: true }),
            Bound::Excluded(topic) => Some(Owed { topic: Arc::clone(&topic.0), with_it: false }),
            Bound::Unbounded => None,
        }
    }
}

/// What a filter says to a topic.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Match,
    /// Look at the next topic.
    Next,
    /// No match is before this text.
    To(String),
    /// No match is behind.
    Finished,
}

/// Matches and, failing that, finds where to look next.
fn compare(path: &str, text: &str) -> Step {
    if text.starts_with('$') && path.starts_with(['+', '#']) {
        return Step::Next;
    }
    let mut offset = 0;
    // Behind the topic's level that the last '+' took: from there another level may match.
    let mut last_plus = None;
    let mut levels = text.split('/');
    for wanted in path.split('/') {
        if wanted == "#" {
            return Step::Match;
        }
        let Some(level) = levels.next() else {
            // The topic is too short; what is below it follows.
            return Step::Next;
        };
        let end = offset + level.len();
        if wanted == "+" {
            last_plus = Some(end);
        } else {
            match level.cmp(wanted) {
                Ordering::Equal => {}
                Ordering::Less => return jump(text.get(..offset), wanted),
                Ordering::Greater => {
                    return match last_plus {
                        None => Step::Finished,
                        Some(end) => jump(text.get(..end), BEHIND_ALL_BELOW),
                    };
                }
            }
        }
        offset = end + 1;
    }
    match (levels.next(), last_plus) {
        (None, _) => Step::Match,
        // The topic is too long, and so is all that is below it.
        (Some(_), None) => Step::Finished,
        (Some(_), Some(end)) => jump(text.get(..end), BEHIND_ALL_BELOW),
    }
}

/// Appended to a topic, it orders behind all that is below that topic and before all else: no topic contains it.
const BEHIND_ALL_BELOW: &str = "\0";

fn jump(beginning: Option<&str>, more: &str) -> Step {
    Step::To([beginning.unwrap_or_default(), more].concat())
}

/// A topic in the order of its levels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Topic(Arc<str>);

impl Ord for Topic {
    fn cmp(&self, other: &Self) -> Ordering {
        // Bytewise, but '/' comes first: that is the order of lists of levels.
        let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        match a.iter().zip(b).find(|(a, b)| a != b) {
            Some((a, b)) => rank(*a).cmp(&rank(*b)),
            None => a.len().cmp(&b.len()),
        }
    }
}

impl PartialOrd for Topic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::QoS;
    use crate::topic;
    use proptest::prelude::*;
    use std::time::Duration;

    fn retain(store: &Retained, topic: &str, payload: &'static str) -> Result<(), PublishError> {
        let message = Message { retain: true, ..Message::new(topic, payload, QoS::AtLeastOnce) };
        store.set(&Arc::new(message)).map(|_| ())
    }

    fn found(store: &Retained, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut scan = Scan::new(path);
        while !store.scan(&mut scan, &mut |message| {
            found.push(message.topic.to_string());
            ControlFlow::Continue(())
        }) {}
        found
    }

    #[test]
    fn a_filter_finds_what_is_retained_in_the_order_of_levels() {
        let store = Retained::new(100);
        for topic in ["a", "a/1", "a/1/x", "a/1-2", "a/1-2/x", "a/10/x", "a/2/y", "b/1/x", "ab", "/a"] {
            retain(&store, topic, "p").unwrap();
        }
        assert_eq!(found(&store, "a/+/x"), ["a/1/x", "a/1-2/x", "a/10/x"]);
        assert_eq!(found(&store, "a/+"), ["a/1", "a/1-2"]);
        assert_eq!(found(&store, "+/1/x"), ["a/1/x", "b/1/x"]);
        assert_eq!(found(&store, "a/1/#"), ["a/1", "a/1/x"]);
        assert_eq!(found(&store, "a"), ["a"]);
        assert_eq!(found(&store, "a/3"), [""; 0]);
        assert_eq!(found(&store, "+"), ["a", "ab"]);
        assert_eq!(found(&store, "/+"), ["/a"]);
        assert_eq!(found(&store, "#").len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_found_by_its_topic_and_all_page_by_page_but_what_has_expired() {
        let store = Retained::new(100);
        for topic in ["a", "a/1", "a-1", "b"] {
            retain(&store, topic, "p").unwrap();
        }
        let short = Message { retain: true, ..Message::new("a/2", "p", QoS::AtMostOnce) };
        store.set(&Arc::new(short.expiring_after(Duration::from_secs(1)))).unwrap();
        let topics = |after, limit| -> Vec<String> {
            store.after(after, limit).iter().map(|message| message.topic.to_string()).collect()
        };
        assert_eq!(topics(None, 3), ["a", "a/1", "a/2"]);
        assert!(store.get("a/2").is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(topics(Some("a/1"), 100), ["a-1", "b"]);
        assert!(store.get("a/2").is_none() && store.get("a/3").is_none() && store.get("b").is_some());
    }

    #[test]
    fn an_empty_payload_deletes_and_a_new_message_replaces() {
        let store = Retained::new(100);
        retain(&store, "a", "old").unwrap();
        retain(&store, "a", "new").unwrap();
        assert_eq!(store.len(), 1);
        retain(&store, "a", "").unwrap();
        retain(&store, "b", "").unwrap();
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn a_full_store_takes_replacements_and_refuses_new_topics() {
        let store = Retained::new(2);
        retain(&store, "a", "p").unwrap();
        retain(&store, "b", "p").unwrap();
        retain(&store, "b", "q").unwrap();
        assert_eq!(retain(&store, "c", "p"), Err(PublishError::RetainedFull { limit: 2 }));
        assert_eq!(retain(&store, "$x", "p"), Err(PublishError::RetainedReserved));
        retain(&store, "a", "").unwrap();
        retain(&store, "c", "p").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_message_is_not_found_and_makes_room() {
        let store = Retained::new(2);
        retain(&store, "a", "p").unwrap();
        let expiring = Message::new("b", "p", QoS::AtMostOnce).expiring_after(Duration::from_secs(1));
        store.set(&Arc::new(Message { retain: true, ..expiring })).unwrap();
        assert_eq!(found(&store, "#"), ["a", "b"]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(found(&store, "#"), ["a"]);
        retain(&store, "c", "p").unwrap();
        assert_eq!(found(&store, "#"), ["a", "c"]);
    }

    #[test]
    fn a_scan_goes_on_where_it_stopped() {
        let store = Retained::new(10_000);
        for n in 0..3000 {
            retain(&store, &format!("fleet/{n:04}/state"), "p").unwrap();
            retain(&store, &format!("fleet/{n:04}/other"), "p").unwrap();
        }
        let mut scan = Scan::new("fleet/+/state");
        let mut found = Vec::new();
        for round in 1.. {
            let through = store.scan(&mut scan, &mut |message| {
                if found.len() == round * 700 {
                    return ControlFlow::Break(());
                }
                found.push(message.topic.to_string());
                ControlFlow::Continue(())
            });
            if through {
                break;
            }
        }
        assert_eq!(found, (0..3000).map(|n| format!("fleet/{n:04}/state")).collect::<Vec<_>>());
    }

    fn text(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(levels), 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn scanning_finds_what_matching_one_by_one_finds(
            topics in proptest::collection::btree_set(text(&["", "a", "b", "ab", "a-", "é", "z"]), 0..60),
            paths in proptest::collection::vec((text(&["+", "a", "b", "", "a-", "é"]), any::<bool>()), 1..20),
        ) {
            let store = Retained::new(100);
            for topic in topics.iter().filter(|topic| !topic.is_empty()) {
                retain(&store, topic, "p").unwrap();
            }
            for (path, hash) in paths {
                let path = if hash { format!("{path}/#") } else { path };
                if path.is_empty() {
                    continue;
                }
                let mut found = found(&store, &path);
                found.sort();
                let expected: Vec<_> =
                    topics.iter().filter(|topic| !topic.is_empty() && topic::matches(&path, topic)).cloned().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}

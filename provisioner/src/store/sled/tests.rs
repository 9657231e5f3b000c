//! The engine through the trait.
use super::*;
use crate::clock::{ManualClock, SystemClock, Timestamp};
use crate::store::{Cursor, Expectation, SessionWrites, Write};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const KEPT_FREE: u64 = 1_000;

struct Fixture {
    dir: TempDir,
    free: Arc<AtomicU64>,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), free: Arc::new(AtomicU64::new(u64::MAX)) }
    }
    async fn open(&self) -> Result<SledStore, StoreError> {
        open(self.dir.path(), &self.free).await
    }
}

async fn open(dir: &Path, free: &Arc<AtomicU64>) -> Result<SledStore, StoreError> {
    let free = Arc::clone(free);
    let guard = DiskGuard::new(KEPT_FREE, move |_| Ok(free.load(Ordering::SeqCst)));
    SledStore::open(
        dir,
        SledOptions {
            cache_bytes: 1 << 20,
            guard,
            retention: Retention::default(),
            clock: Arc::new(SystemClock),
        },
    )
    .await
}

fn put(key: &str, value: &str) -> Batch {
    let write = Write { table: Table::Things, key: key.into(), value: Some(value.into()) };
    Batch { writes: vec![write], ..Batch::default() }
}
fn delete(key: &str) -> Batch {
    Batch { writes: vec![Write { table: Table::Things, key: key.into(), value: None }], ..Batch::default() }
}
fn expecting(mut batch: Batch, expectation: Expectation) -> Batch {
    batch.expectations.push(expectation);
    batch
}
fn unchanged(key: &str, revision: Option<Revision>) -> Expectation {
    Expectation::Revision { table: Table::Things, key: key.into(), revision }
}
fn prefix_is(prefix: &str, rows: usize, newest: Revision) -> Expectation {
    Expectation::Prefix { table: Table::Things, prefix: prefix.into(), rows, newest }
}
async fn value(store: &SledStore, key: &str) -> Option<String> {
    let row = store.get(Table::Things, key.as_bytes()).await.unwrap();
    row.map(|r| String::from_utf8(r.value).unwrap())
}

#[tokio::test]
async fn a_commit_is_all_or_nothing_and_conflicts_when_a_read_row_has_changed() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    let first = store.commit(put("a", "1")).await.unwrap();
    let second = store.commit(expecting(put("a", "2"), unchanged("a", Some(first)))).await.unwrap();
    assert!(second > first);
    let mut stale = expecting(put("a", "3"), unchanged("a", Some(first)));
    stale.writes.extend(put("b", "3").writes);
    assert_eq!(store.commit(stale).await, Err(StoreError::Conflict));
    assert_eq!(store.commit(expecting(put("a", "3"), unchanged("a", None))).await, Err(StoreError::Conflict));
    assert_eq!(value(&store, "a").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "b").await, None);
    store.commit(expecting(delete("a"), unchanged("a", Some(second)))).await.unwrap();
    store.commit(expecting(put("a", "4"), unchanged("a", None))).await.unwrap();
}

#[tokio::test]
async fn an_expected_prefix_conflicts_when_a_row_was_added_or_written_or_deleted() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    store.commit(put("g/1", "")).await.unwrap();
    let newest = store.commit(put("g/2", "")).await.unwrap();
    store.commit(put("h/1", "")).await.unwrap();
    store.commit(expecting(put("x", ""), prefix_is("g/", 2, newest))).await.unwrap();
    for (batch, rows) in [(put("g/1", "again"), 2), (delete("g/2"), 1), (put("g/3", ""), 2)] {
        let before =
            store.scan(Table::Things, &KeyRange::prefix(b"g/"), 9, Direction::Ascending).await.unwrap();
        let newest = before.iter().map(|(_, r)| r.revision).max().unwrap();
        let read = prefix_is("g/", before.len(), newest);
        store.commit(batch).await.unwrap();
        assert_eq!(store.commit(expecting(put("x", ""), read)).await, Err(StoreError::Conflict));
        let after =
            store.scan(Table::Things, &KeyRange::prefix(b"g/"), 9, Direction::Ascending).await.unwrap();
        assert_eq!(after.len(), rows);
    }
    assert_eq!(
        store.commit(expecting(put("x", ""), prefix_is("g/", 0, Revision(0)))).await,
        Err(StoreError::Conflict)
    );
    store.commit(expecting(put("x", ""), prefix_is("i/", 0, Revision(0)))).await.unwrap();
}

/// A commit on what was read some commits ago, decided from the recent writes, and from the trees alone.
#[test]
fn recent_writes_decide_as_the_trees_do() {
    const KEYS: [&str; 6] = ["a/1", "a/2", "a/3", "b/1", "b/2", "c"];
    let step = || {
        let read = prop::sample::select(vec!["a/", "b/", "c", "a/1", "b/2"]);
        (0..KEYS.len(), any::<bool>(), read, 0..4_usize, any::<bool>())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(ProptestConfig::with_cases(24), |(steps in prop::collection::vec(step(), 1..40))| {
        runtime.block_on(async {
            let fixtures = [Fixture::new(), Fixture::new()];
            let mut stores = Vec::new();
            for fixture in &fixtures {
                let store = fixture.open().await.unwrap();
                store.commit(put("before", "")).await.unwrap();
                store.close().await.unwrap();
                stores.push(fixture.open().await.unwrap());
            }
            let all = KeyRange::prefix(b"");
            let mut history = Vec::new();
            for (key, puts, read, ago, prefix) in steps {
                let rows = stores[0].scan(Table::Things, &all, 99, Direction::Ascending).await.unwrap();
                history.push((stores[0].visible(), rows));
                let (since, rows) = &history[history.len().saturating_sub(1 + ago)];
                let rows = rows.iter().filter(|(k, _)| k.starts_with(read.as_bytes()));
                let expectation = if prefix {
                    let revisions: Vec<_> = rows.map(|(_, row)| row.revision).collect();
                    prefix_is(read, revisions.len(), revisions.iter().max().copied().unwrap_or_default())
                } else {
                    let exact = rows.filter(|(k, _)| k == read.as_bytes()).map(|(_, row)| row.revision).next();
                    unchanged(read, exact)
                };
                let written = if puts { put(KEYS[key], "x") } else { delete(KEYS[key]) };
                let mut batch = expecting(written, expectation);
                let from_trees = stores[1].commit(batch.clone()).await;
                batch.read_since = *since;
                let from_recent = stores[0].commit(batch).await;
                assert_eq!(from_recent, from_trees);
            }
        });
    });
}

#[tokio::test]
async fn of_many_rivals_in_one_group_exactly_one_wins() {
    let fixture = Fixture::new();
    let store = Arc::new(fixture.open().await.unwrap());
    let rivals: Vec<_> = (0..64)
        .map(|i| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let by_key =
                    store.commit(expecting(put("one", &i.to_string()), unchanged("one", None))).await;
                let child = put(&format!("p/{i}"), "");
                let by_prefix = store.commit(expecting(child, prefix_is("p/", 0, Revision(0)))).await;
                (by_key.is_ok(), by_prefix.is_ok())
            })
        })
        .collect();
    let mut won = (0, 0);
    for rival in rivals {
        let (key, prefix) = rival.await.unwrap();
        won = (won.0 + usize::from(key), won.1 + usize::from(prefix));
    }
    assert_eq!(won, (1, 1));
}

#[tokio::test]
async fn a_scan_runs_both_ways_from_a_cursor() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        store.commit(put(key, key)).await.unwrap();
    }
    let keys = async |range: KeyRange, direction| {
        let rows = store.scan(Table::Things, &range, 2, direction).await.unwrap();
        rows.into_iter().map(|(k, _)| String::from_utf8(k).unwrap()).collect::<Vec<_>>()
    };
    let all = KeyRange::prefix(b"a/");
    assert_eq!(keys(all.clone(), Direction::Ascending).await, ["a/1", "a/2"]);
    assert_eq!(keys(all.clone(), Direction::Descending).await, ["a/3", "a/2"]);
    let beyond = |d| all.clone().beyond(b"a/2".to_vec(), d);
    assert_eq!(keys(beyond(Direction::Ascending), Direction::Ascending).await, ["a/3"]);
    assert_eq!(keys(beyond(Direction::Descending), Direction::Descending).await, ["a/1"]);
    let past = all.clone().beyond(b"c".to_vec(), Direction::Ascending);
    assert!(keys(past, Direction::Ascending).await.is_empty());
}

#[tokio::test]
async fn revisions_go_on_after_a_restart_and_the_log_is_in_commit_order() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    let logged = |n: &str| Batch { changes: Some(n.into()), ..put(n, n) };
    let first = store.commit(logged("1")).await.unwrap();
    let quiet = store.commit(put("quiet", "")).await.unwrap();
    assert_eq!(*store.latest().borrow(), first, "a commit without changes does not grow the log");
    store.close().await.unwrap();
    assert!(matches!(store.get(Table::Things, b"1").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.commit(logged("x")).await, Err(StoreError::Unavailable(_))));
    let store = fixture.open().await.unwrap();
    assert_eq!(*store.latest().borrow(), first);
    let second = store.commit(logged("2")).await.unwrap();
    assert!(second > quiet && quiet > first);
    let all = store.changes_since(Revision(0), 10).await.unwrap();
    let found: Vec<_> = all.iter().map(|c| (c.revision, c.changes.as_slice())).collect();
    assert_eq!(found, [(first, &b"1"[..]), (second, b"2")]);
    assert_eq!(store.changes_since(first, 10).await.unwrap().len(), 1);
    assert_eq!(store.changes_since(Revision(0), 1).await.unwrap().len(), 1);
    assert_eq!(store.changes_since(second, 10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_log_is_trimmed_behind_its_slowest_consumer_and_stays_so_after_a_restart() {
    let fixture = Fixture::new();
    let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
    let retention =
        Retention { kept: 100, kept_for_consumers: 400, abandoned_after: 1_000, segment_bytes: 16 * 17 };
    let open = async || {
        let guard = DiskGuard::new(0, |_| Ok(u64::MAX));
        let options = SledOptions { cache_bytes: 1 << 20, guard, retention, clock: clock.clone() };
        SledStore::open(fixture.dir.path(), options).await.unwrap()
    };
    let store = open().await;
    let cursor = |done: u64| Write {
        table: Table::Cursors,
        key: b"events".to_vec(),
        value: Some(Cursor { done: Revision(done), at: Timestamp(1_000) }.encode()),
    };
    let change = async |store: &SledStore| {
        let batch = Batch { changes: Some(b"x".to_vec()), ..put("a", "1") };
        store.commit(batch).await.unwrap();
    };
    let oldest = async |store: &SledStore| store.changes_since(Revision(0), 1).await.unwrap()[0].revision.0;
    store.commit(Batch { writes: vec![cursor(50)], ..Batch::default() }).await.unwrap();
    for _ in 1..300 {
        change(&store).await;
    }
    let held = oldest(&store).await;
    assert!((35..=51).contains(&held), "the consumer holds the log at 50: {held}");
    assert_eq!(store.trimmed().0, held - 1);
    for _ in 300..1_000 {
        change(&store).await;
    }
    let bounded = oldest(&store).await;
    assert!((584..=601).contains(&bounded), "a consumer holds 400 commits at most: {bounded}");
    clock.set(Timestamp(2_000));
    store.close().await.unwrap();
    let store = open().await;
    assert_eq!(store.trimmed().0, bounded - 1);
    for _ in 1_000..1_040 {
        change(&store).await;
    }
    let abandoned = oldest(&store).await;
    assert!(abandoned > bounded + 60, "the abandoned consumer holds nothing: {abandoned}");
    let kept = store.changes_since(Revision(0), 10_000).await.unwrap();
    assert!(kept.len() >= 100 && kept.windows(2).all(|w| w[0].revision < w[1].revision));
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_written_soon_and_before_closing() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    let mut latest = store.latest();
    store.commit_later(Batch { changes: Some(b"x".to_vec()), ..put("later", "1") }).unwrap();
    latest.changed().await.unwrap();
    assert_eq!(value(&store, "later").await.as_deref(), Some("1"));
    store.commit_later(put("at the end", "1")).unwrap();
    store.close().await.unwrap();
    let store = fixture.open().await.unwrap();
    assert_eq!(value(&store, "at the end").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_keeps_reading_and_recovers_by_itself() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    fixture.free.store(999, Ordering::SeqCst);
    let Err(StoreError::Unavailable(why)) = store.commit(put("a", "2")).await else { panic!("written") };
    assert!(why.contains("only 999 bytes free") && why.contains("make room"), "{why}");
    assert!(store.commit_later(put("b", "1")).is_err());
    assert!(matches!(store.health(), Health::ReadOnly(_)));
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
    fixture.free.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(store.health(), Health::Ready);
    store.commit(put("a", "2")).await.unwrap();
    // More than is kept free, and too little for what is to be written.
    fixture.free.store(KEPT_FREE + 1, Ordering::SeqCst);
    assert_eq!(store.health(), Health::Ready, "nothing was refused");
    assert!(store.commit(put("a", "3")).await.is_err());
    assert!(matches!(store.health(), Health::ReadOnly(_)));
    fixture.free.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(store.health(), Health::Ready);
}

#[tokio::test]
async fn after_a_failed_write_everything_further_is_refused_with_the_first_reason() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    store.status.fail("the flush failed: input/output error".into());
    store.status.fail("something else".into());
    let Err(StoreError::Unavailable(why)) = store.commit(put("a", "2")).await else { panic!("written") };
    assert!(why.contains("input/output error"), "{why}");
    assert_eq!(store.health(), Health::ReadOnly("the flush failed: input/output error".into()));
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn when_the_committer_dies_nobody_hangs() {
    let fixture = Fixture::new();
    let dying = Arc::new(AtomicU64::new(0));
    let dies = Arc::clone(&dying);
    let guard = DiskGuard::new(0, move |_| {
        assert_eq!(dies.load(Ordering::SeqCst), 0, "the probe dies, and with it the committer");
        Ok(u64::MAX)
    });
    let options = SledOptions {
        cache_bytes: 1 << 20,
        guard,
        retention: Retention::default(),
        clock: Arc::new(SystemClock),
    };
    let store = SledStore::open(fixture.dir.path(), options).await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    dying.store(1, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(matches!(store.commit(put("a", "2")).await, Err(StoreError::Unavailable(_))));
    }
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_commit_survives_a_crash_right_after_it() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    for i in 0..200 {
        store.commit(put(&i.to_string(), &"x".repeat(i))).await.unwrap();
    }
    let crashed = TempDir::new().unwrap();
    copy(fixture.dir.path(), crashed.path());
    let recovered = open(crashed.path(), &fixture.free).await.unwrap();
    for i in 0..200 {
        assert_eq!(value(&recovered, &i.to_string()).await.map(|v| v.len()), Some(i));
    }
}

#[tokio::test]
async fn large_values_survive_crashes_before_the_first_checkpoint() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    for i in 0..30 {
        store.commit(put(&i.to_string(), &"x".repeat(60_000))).await.unwrap();
    }
    let mut crashed = TempDir::new().unwrap();
    copy(fixture.dir.path(), crashed.path());
    for _ in 0..2 {
        let recovered = open(crashed.path(), &fixture.free).await.unwrap();
        for i in 0..30 {
            assert_eq!(value(&recovered, &i.to_string()).await.map(|v| v.len()), Some(60_000), "{i}");
        }
        recovered.commit(put("more", &"x".repeat(600_000))).await.unwrap();
        let again = TempDir::new().unwrap();
        copy(crashed.path(), again.path());
        drop(recovered);
        crashed = again;
    }
}

/// What a power cut may leave: the redo log as it is, the rest as it was at any time since the checkpoint.
#[tokio::test]
async fn the_redo_log_brings_back_what_the_other_files_do_not_have_yet() {
    let fixture = Fixture::new();
    let registry = fixture.dir.path().join("registry");
    let store = fixture.open().await.unwrap();
    store.commit(put("gone", "1")).await.unwrap();
    store.close().await.unwrap();
    let store = fixture.open().await.unwrap();
    let mut snapshots = Vec::new();
    for i in 0..30 {
        if i % 10 == 0 {
            let old = TempDir::new().unwrap();
            copy(&registry, old.path());
            snapshots.push(old);
        }
        store
            .commit(Batch { changes: Some(b"x".into()), ..put(&format!("{}", i % 7), &i.to_string()) })
            .await
            .unwrap();
        if i == 15 {
            store.commit(delete("gone")).await.unwrap();
        }
    }
    let all: Vec<_> = store.changes_since(Revision(0), 100).await.unwrap();
    assert_eq!(all.len(), 30);
    for old in snapshots {
        let cut = TempDir::new().unwrap();
        copy(old.path(), &cut.path().join("registry"));
        std::fs::remove_dir_all(cut.path().join("registry/journal")).unwrap();
        copy(&registry.join("journal"), &cut.path().join("registry/journal"));
        for _ in 0..2 {
            let recovered = open(cut.path(), &fixture.free).await.unwrap();
            for i in 23..30 {
                assert_eq!(value(&recovered, &format!("{}", i % 7)).await, Some(i.to_string()));
            }
            assert_eq!(value(&recovered, "gone").await, None);
            assert_eq!(recovered.changes_since(Revision(0), 100).await.unwrap(), all);
            recovered.commit(put("new", "1")).await.unwrap();
            recovered.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_sessions_have_survives_a_crash_at_any_time_between_checkpoints() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    let key = |place: u64| [1_u64.to_be_bytes(), place.to_be_bytes()].concat();
    let value = |place: u64| vec![place as u8; 64 * 1024];
    let mut there = BTreeSet::new();
    // About 100 MB: every file of the redo log is written several times. One of five stays.
    for place in 0..1600 {
        let mut writes = SessionWrites::default();
        writes.queue(&[(1, place)], &value(place));
        there.insert(place);
        for old in [place.wrapping_sub(3), place.wrapping_sub(200)] {
            if old % 5 > 0 && there.remove(&old) {
                writes.unqueue(1, old);
            }
        }
        // Some that are in the trees go after all.
        if place % 50 == 0 && there.remove(&(place / 2)) {
            writes.unqueue(1, place / 2);
        }
        store.commit(Batch { sessions: Some(Arc::new(writes)), ..Batch::default() }).await.unwrap();
        // A file is full with 256 of them, and a checkpoint begins when another one is half full: in between nothing moves.
        if place % 256 == 20 {
            let crashed = TempDir::new().unwrap();
            copy(fixture.dir.path(), crashed.path());
            // The second time there is nothing to redo.
            for _ in 0..2 {
                let recovered = open(crashed.path(), &fixture.free).await.unwrap();
                let range = KeyRange::prefix(&1_u64.to_be_bytes());
                let rows =
                    recovered.scan(Table::SessionQueues, &range, 1000, Direction::Ascending).await.unwrap();
                let expected: Vec<_> = there.iter().map(|place| (key(*place), value(*place))).collect();
                let rows: Vec<_> = rows.into_iter().map(|(key, row)| (key, row.value)).collect();
                assert!(rows == expected, "{} rows of {} after place {place}", rows.len(), expected.len());
                recovered.close().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn an_older_redo_log_than_the_rest_is_damage() {
    let fixture = Fixture::new();
    let store = fixture.open().await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    let journal = fixture.dir.path().join("registry/journal");
    let older = TempDir::new().unwrap();
    copy(&journal, older.path());
    store.commit(put("a", "2")).await.unwrap();
    store.close().await.unwrap();
    copy(older.path(), &journal);
    let Err(StoreError::Corrupt(why)) = fixture.open().await else { panic!("opened") };
    assert!(why.contains("redo log ends at revision 1") && why.contains("backup"), "{why}");
}

#[tokio::test]
async fn what_one_reader_has_seen_of_a_commit_every_later_read_sees() {
    let fixture = Fixture::new();
    let store = Arc::new(fixture.open().await.unwrap());
    let moving = |i: u64| {
        let name = |i: u64| format!("at/{:02}", i % 64);
        let mut batch = put(&name(i), &i.to_string());
        batch.writes.extend(delete(&name(i + 63)).writes);
        batch
    };
    store.commit(moving(0)).await.unwrap();
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for i in 1..2_000 {
                store.commit(moving(i)).await.unwrap();
            }
        }
    });
    let mut newest = Revision(0);
    while !writer.is_finished() {
        for direction in [Direction::Ascending, Direction::Descending] {
            let rows = store.scan(Table::Things, &KeyRange::prefix(b"at/"), 9, direction).await.unwrap();
            let [(_, row)] = rows.as_slice() else { panic!("it is in one place at any time: {rows:?}") };
            assert!(row.revision >= newest, "time runs backwards");
            newest = row.revision;
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn directories_and_files_of_ours_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let _store = fixture.open().await.unwrap();
    let mode = |name: &str| {
        let path = fixture.dir.path().join("registry").join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("FORMAT"), mode("LOCK")), (0o700, 0o600, 0o600));
    assert_eq!((mode("journal"), mode("journal/1.log"), mode("changes")), (0o700, 0o600, 0o700));
    assert_eq!(mode("known-keys"), 0o600);
}

#[tokio::test]
async fn every_row_is_found_whatever_became_of_the_list_of_known_keys() {
    let fixture = Fixture::new();
    let list = fixture.dir.path().join("registry/known-keys");
    let found = async |keys: [&str; 3]| {
        let store = fixture.open().await.unwrap();
        for key in keys {
            assert_eq!(value(&store, key).await.as_deref(), Some("1"), "{key}");
        }
        assert_eq!(value(&store, "absent").await, None);
        store
    };
    let store = fixture.open().await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    let older = std::fs::read(&list).unwrap();
    let store = fixture.open().await.unwrap();
    store.commit(put("b", "1")).await.unwrap();
    store.commit(put("c", "1")).await.unwrap();
    store.close().await.unwrap();
    let newer = std::fs::read(&list).unwrap();
    assert!(newer.len() > older.len() && newer.starts_with(&older), "what is new is appended");
    found(["a", "b", "c"]).await.close().await.unwrap();
    assert_eq!(std::fs::read(&list).unwrap(), newer, "nothing was new");
    std::fs::write(&list, &older).unwrap();
    found(["a", "b", "c"]).await.close().await.unwrap();
    std::fs::remove_file(&list).unwrap();
    let store = found(["a", "b", "c"]).await;
    store.commit(delete("a")).await.unwrap();
    assert_eq!(value(&store, "a").await, None);
    store.commit(put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    found(["a", "b", "c"]).await;
}

#[tokio::test]
async fn a_registry_of_the_format_before_is_opened_and_gets_what_is_new() {
    let fixture = Fixture::new();
    let registry = fixture.dir.path().join("registry");
    let store = fixture.open().await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    std::fs::remove_file(registry.join("known-keys")).unwrap();
    std::fs::write(registry.join("FORMAT"), "jitp registry\nformat 2\n").unwrap();
    let store = fixture.open().await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
    let format = std::fs::read_to_string(registry.join("FORMAT")).unwrap();
    assert_eq!(format, "jitp registry\nformat 4\n", "a program that knows only the format before refuses it");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

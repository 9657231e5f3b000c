//! The archive of a registry: written while others go on, read again whole or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use jitp_provisioner::archive::{Imported, Seed, import, verify};
use jitp_provisioner::registry::{CreateThing, PageRequest, ThingFilter, UpdateThing};
use jitp_provisioner::store::Revision;
use jitp_provisioner::{Change, Options, Provisioner, Registry, RegistryError, Role, SystemClock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

async fn open(directory: &Path) -> Provisioner {
    Provisioner::open(directory, Options::default(), Arc::new(SystemClock)).await.unwrap()
}

async fn create_thing(registry: &Registry, name: &str) {
    let thing = CreateThing {
        thing_type: None,
        attributes: [("line".parse().unwrap(), "7".parse().unwrap())].into(),
        billing_group: None,
    };
    registry.create_thing(name.parse().unwrap(), thing).await.unwrap();
}

async fn things(registry: &Registry) -> Vec<String> {
    let mut names = Vec::new();
    let mut page = PageRequest { after: None, limit: 250, ascending: true };
    loop {
        let found = registry.list_things(&ThingFilter::default(), &page).await.unwrap();
        names.extend(found.items.into_iter().map(|thing| thing.name.to_string()));
        match found.next {
            Some(next) => page.after = Some(next),
            None => return names,
        }
    }
}

/// A registry with some of everything that is easily made.
async fn filled(directory: &Path) -> Provisioner {
    let provisioner = open(directory).await;
    let registry = provisioner.registry();
    for n in 0..30 {
        create_thing(registry, &format!("pump-{n:02}")).await;
    }
    let document =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
    registry.create_policy("device".parse().unwrap(), document).await.unwrap();
    registry.registration_code().await.unwrap();
    registry.create_access_key(Role::Viewer, "").await.unwrap();
    provisioner
}

async fn export(provisioner: &Provisioner, file: &Path) {
    let mut export = provisioner.export().await.unwrap();
    let mut text = Vec::new();
    while let Some(lines) = export.next().await.unwrap() {
        text.extend(lines);
    }
    std::fs::write(file, text).unwrap();
}

struct Desk {
    directory: tempfile::TempDir,
}
impl Desk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

async fn load(directory: &Path, archive: &Path) -> Result<Imported, String> {
    import(directory, archive, None, &mut |_| {}).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_was_exported_is_imported_row_for_row() {
    let desk = Desk::new();
    let (first, second) = (desk.path("first"), desk.path("second"));
    let (one, two) = (desk.path("one.jsonl"), desk.path("two.jsonl"));
    let from = filled(&first).await;
    let secret = from.registry().access_keys().await.unwrap().remove(0).secret;
    export(&from, &one).await;
    assert!(!std::fs::read_to_string(&one).unwrap().contains(secret.expose()), "it holds a secret");
    let verified = verify(&one, &mut |_| {}).unwrap();
    assert!(verified.records > 31, "{verified:?}");

    assert_eq!(load(&second, &one).await, Ok(Imported::Loaded(verified.clone())));
    let to = open(&second).await;
    assert_eq!(things(to.registry()).await, things(from.registry()).await);
    assert_eq!(to.registry().registration_code().await, from.registry().registration_code().await);
    assert!(to.registry().access_keys().await.unwrap().is_empty());
    export(&to, &two).await;
    let body = |file: &Path| {
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1..lines.len() - 1].to_vec()
    };
    assert_eq!(body(&one), body(&two));
    // It goes on as any registry does.
    create_thing(to.registry(), "pump-99").await;
}

#[tokio::test]
async fn an_archive_that_is_damaged_truncated_or_newer_is_refused_and_changes_nothing() {
    let desk = Desk::new();
    let (archive, target) = (desk.path("a.jsonl"), desk.path("target"));
    export(&filled(&desk.path("source")).await, &archive).await;
    let whole = std::fs::read(&archive).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: Vec<&str>| (lines.join("\n") + "\n").into_bytes();
    let without = |left_out: usize| {
        joined(lines.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, line)| *line).collect())
    };
    let mut swapped = lines.clone();
    let pump = lines.iter().position(|line| line.contains("pump-03")).unwrap();
    swapped.swap(pump, pump + 1);
    let mut cases = vec![
        (Vec::new(), "ends within line 1"),
        (b"{}\n".to_vec(), "is not one"),
        (b"\xff\xfe\n".to_vec(), "is not one"),
        (text.replacen("\"version\":1", "\"version\":2", 1).into_bytes(), "newer jitp"),
        (text.replacen("\"v\":1", "\"v\":2", 1).into_bytes(), "newer program"),
        (text.replacen("\"line\":\"7\"", "\"line\":\"8\"", 1).into_bytes(), "SHA-256"),
        (text.replacen("\"thingId\"", "\"thingIt\"", 1).into_bytes(), "damaged in line"),
        (text.replacen("\"key\":\"pump-03\"", "\"key\":\"pump-031\"", 1).into_bytes(), "of another thing"),
        (
            text.replacen("\"table\":\"things\"", "\"table\":\"robots\"", 1).into_bytes(),
            "no table \"robots\"",
        ),
        (text.replacen("\"table\":\"things\"", "\"table\":\"access-keys\"", 1).into_bytes(), "not part"),
        (without(pump), "records, its last line counts"),
        (without(lines.len() - 1), "without its last line"),
        (joined(swapped), "not after the one before"),
        ([whole.clone(), b"{}\n".to_vec()].concat(), "goes on after its last line"),
        ([lines[0].as_bytes(), b"\n", "x".repeat(5_000_000).as_bytes()].concat(), "longer than"),
    ];
    for cut in (1..whole.len()).step_by(whole.len() / 40 + 1) {
        cases.push((whole[..cut].to_vec(), "ends within line"));
    }
    for (bytes, expected) in cases {
        std::fs::write(&archive, &bytes).unwrap();
        let error = load(&target, &archive).await.unwrap_err();
        // A cut right behind a line's end lacks the last line all the same.
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!target.exists(), "{expected}: something was written");
    }
}

#[tokio::test]
async fn any_flipped_byte_is_noticed() {
    let desk = Desk::new();
    let archive = desk.path("a.jsonl");
    export(&filled(&desk.path("source")).await, &archive).await;
    let whole = std::fs::read(&archive).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 300 + 1) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&archive, &flipped).unwrap();
        assert!(verify(&archive, &mut |_| {}).is_err(), "byte {at} {:?}", char::from(whole[at]));
    }
}

#[tokio::test]
async fn only_an_empty_registry_is_replaced_and_never_one_that_is_open() {
    let desk = Desk::new();
    let (archive, target) = (desk.path("a.jsonl"), desk.path("target"));
    export(&filled(&desk.path("source")).await, &archive).await;
    let empty = open(&target).await;
    assert!(load(&target, &archive).await.unwrap_err().contains("another process"));
    empty.close().await.unwrap();
    drop(empty);
    // What an import that was killed leaves behind.
    std::fs::create_dir_all(target.join("registry.importing/registry")).unwrap();
    std::fs::write(target.join("registry.importing/registry/junk"), "x").unwrap();
    assert!(matches!(load(&target, &archive).await, Ok(Imported::Loaded(_))));
    assert!(!target.join("registry.importing").exists());
    assert_eq!(load(&target, &archive).await, Ok(Imported::NotEmpty));
    assert_eq!(things(open(&target).await.registry()).await.len(), 30);

    let other = import(&desk.path("other"), &archive, Some(("111111111111", "us-east-1")), &mut |_| {}).await;
    assert!(other.unwrap_err().to_string().contains("is of account 000000000000"));
    assert!(!desk.path("other").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_shows_one_moment_however_busy_the_registry_is() {
    let desk = Desk::new();
    let provisioner = filled(&desk.path("source")).await;
    let registry = provisioner.registry().clone();
    let writer = tokio::spawn(async move {
        // Pairs: an archive with one of them only would be of no moment.
        for n in 0..60 {
            create_thing(&registry, &format!("left-{n:03}")).await;
            create_thing(&registry, &format!("right-{n:03}")).await;
            registry.delete_thing(&format!("pump-{:02}", n % 30).parse().unwrap(), None).await.unwrap();
            create_thing(&registry, &format!("pump-{:02}", n % 30)).await;
        }
    });
    let mut written = 0;
    while !writer.is_finished() || written == 0 {
        let file = desk.path(&format!("{written}.jsonl"));
        export(&provisioner, &file).await;
        let target = desk.path(&format!("target-{written}"));
        assert!(matches!(load(&target, &file).await, Ok(Imported::Loaded(_))));
        let names = things(open(&target).await.registry()).await;
        let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
        let (left, right, pumps) = (count("left"), count("right"), count("pump"));
        // The writer's steps in order: left, right, one pump gone, the pump back.
        assert!(left == right || left == right + 1, "{left} {right}");
        assert!(pumps == 30 || pumps == 29 && left == right, "{left} {right} {pumps}");
        written += 1;
    }
    writer.await.unwrap();
    let second = provisioner.export().await.unwrap();
    assert!(matches!(provisioner.export().await, Err(RegistryError::ConflictingUpdate(_))));
    drop(second);
    provisioner.export().await.unwrap();
}

#[tokio::test]
async fn a_reset_returns_to_the_seed_or_to_nothing_and_says_so_in_the_change_log() {
    let desk = Desk::new();
    let archive = desk.path("a.jsonl");
    let provisioner = filled(&desk.path("source")).await;
    export(&provisioner, &archive).await;
    let account = &provisioner.options().account;
    let seed = Seed::read(&archive, account, "us-east-1").unwrap();
    assert!(Seed::read(&archive, account, "eu-west-1").is_err());
    let registry = provisioner.registry();
    create_thing(registry, "new").await;
    registry.delete_thing(&"pump-00".parse().unwrap(), None).await.unwrap();
    let code = registry.registration_code().await.unwrap();
    registry.delete_registration_code().await.unwrap();

    let before = provisioner.changes().latest();
    provisioner.reset(&seed).await.unwrap();
    let names = things(registry).await;
    assert_eq!((names.len(), names[0].as_str()), (30, "pump-00"));
    assert_eq!(registry.registration_code().await, Ok(code));
    assert!(registry.access_keys().await.unwrap().is_empty());
    let changes = provisioner.changes().since(before, 10).await.unwrap();
    assert!(changes.iter().any(|entry| entry.change == Change::Reset));
    assert!(before > Revision(0));

    provisioner.reset(&Seed::default()).await.unwrap();
    assert!(things(registry).await.is_empty());
    create_thing(registry, "pump-00").await;
    provisioner.close().await.unwrap();
    drop(provisioner);
    assert_eq!(things(open(&desk.path("source")).await.registry()).await, ["pump-00"]);
}

/// The rows of an archive, without what differs from one to the next.
async fn rows(provisioner: &Provisioner, file: &Path) -> Vec<String> {
    export(provisioner, file).await;
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    lines.pop();
    lines
}

/// What a test may do to a registry that was [`filled`].
async fn disturb(registry: &Registry, round: usize) {
    let name = |text: String| text.parse().unwrap();
    for n in 0..5 {
        create_thing(registry, &format!("new-{round}-{n}")).await;
    }
    registry.delete_thing(&name(format!("pump-{round:02}")), None).await.unwrap();
    let update = UpdateThing { attributes: Some(BTreeMap::new()), ..UpdateThing::default() };
    registry.update_thing(&name(format!("pump-{:02}", round + 10)), update).await.unwrap();
    // Gone and back, and then not the same.
    registry.delete_thing(&name(format!("pump-{:02}", round + 20)), None).await.unwrap();
    create_thing(registry, &format!("pump-{:02}", round + 20)).await;
    registry.create_access_key(Role::Operator, "").await.unwrap();
    registry.delete_registration_code().await.unwrap();
}

#[tokio::test]
async fn every_reset_gives_exactly_its_seed_whatever_was_done_and_reset_before() {
    let desk = Desk::new();
    let (archive, scratch) = (desk.path("a.jsonl"), desk.path("scratch.jsonl"));
    let provisioner = filled(&desk.path("source")).await;
    let wanted = rows(&provisioner, &archive).await;
    let read = || Seed::read(&archive, &provisioner.options().account, "us-east-1").unwrap();
    let (first, second) = (read(), read());
    provisioner.reset(&Seed::default()).await.unwrap();
    let nothing = rows(&provisioner, &scratch).await;
    assert!(nothing.len() < wanted.len());
    let empty = Seed::default();
    provisioner.reset(&first).await.unwrap();
    for (round, seed) in [&first, &first, &second, &first, &empty, &empty, &second].into_iter().enumerate() {
        if rows(&provisioner, &scratch).await == wanted {
            disturb(provisioner.registry(), round).await;
        } else {
            create_thing(provisioner.registry(), "alone").await;
        }
        provisioner.reset(seed).await.unwrap();
        let expected = if std::ptr::eq(seed, &empty) { &nothing } else { &wanted };
        assert_eq!(&rows(&provisioner, &scratch).await, expected, "round {round}");
        assert!(provisioner.registry().access_keys().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_a_reset_is_prepared_is_undone_by_it() {
    let desk = Desk::new();
    let (archive, scratch) = (desk.path("a.jsonl"), desk.path("scratch.jsonl"));
    let provisioner = filled(&desk.path("source")).await;
    let wanted = rows(&provisioner, &archive).await;
    let seed = Seed::read(&archive, &provisioner.options().account, "us-east-1").unwrap();
    create_thing(provisioner.registry(), "before").await;
    let writer = tokio::spawn({
        let registry = provisioner.registry().clone();
        async move {
            for round in 0..10 {
                disturb(&registry, round).await;
                registry.registration_code().await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        provisioner.registry().prepare_reset(&seed).await.unwrap();
    }
    writer.await.unwrap();
    provisioner.reset(&seed).await.unwrap();
    assert_eq!(rows(&provisioner, &scratch).await, wanted);
}

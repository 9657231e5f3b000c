//! Live sessions following the registry: a revoked certificate ends its connections, a changed policy changes
//! what they may do, within a second (`spec/policies.md` section 4, `spec/jitp.md` section 9).
//!
//! The cost of a change is that of the sessions it touches: an index leads from what changed to them. Changes
//! that touch no session, as those of a provisioning storm mostly do, cost one look-up each.
use crate::backend::{Backend, SessionEnd};
use crate::overload::go_last;
use arc_swap::ArcSwap;
use hashbrown::{HashMap, HashSet};
use jitp_provisioner::names::CertificateId;
use jitp_provisioner::policies::{Action, Permissions};
use jitp_provisioner::records::CertificateStatus;
use jitp_provisioner::store::Revision;
use jitp_provisioner::{
    Change, ChangeEntry, ConnectContext, Dependency, Granted, Principal, Provisioner, RegistryError,
};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The permissions of a connection, replaced when what they were computed from changes.
pub(crate) type LivePermissions = Arc<ArcSwap<Permissions>>;

/// Changes remembered for connections that were on their way in while they happened.
const REMEMBERED: usize = 4096;
/// Changes read at once.
const BATCH: usize = 512;
/// Sessions looked at again at the same time.
const WORKERS: usize = 2;
/// Sessions that are marked at once, when something has changed that very many depend on.
const MARKED_AT_ONCE: usize = 256;
/// Sessions that a worker looks at before others have their turn.
const TURN: usize = 16;
/// The pause after the registry could not be read.
const PAUSE: Duration = Duration::from_millis(200);

/// All live connections, by what they depend on.
pub(crate) struct LiveSessions {
    provisioner: Provisioner,
    backend: Backend,
    recheck_connect: bool,
    index: Mutex<Index>,
    work: Notify,
}

#[derive(Default)]
struct Index {
    next: u64,
    sessions: HashMap<u64, Arc<Live>>,
    /// Who depends on what.
    dependents: HashMap<Dependency, HashSet<u64>>,
    /// What was touched lately, oldest first.
    recent: VecDeque<(Revision, Dependency)>,
    /// `recent` knows every change after this one.
    complete_after: Revision,
    /// Sessions to look at again, each once.
    dirty: VecDeque<u64>,
    is_dirty: HashSet<u64>,
    /// Up to this one all connections have ended: what they were authorised by is gone.
    reset_up_to: u64,
}

/// One live connection.
struct Live {
    principal: Principal,
    connect: ConnectContext,
    permissions: LivePermissions,
    depends_on: Mutex<Vec<Dependency>>,
    /// Every change up to this one is in what the connection is allowed to do.
    as_of: AtomicU64,
    /// Set before the backend is told: a connection whose session is just being opened looks here afterwards.
    ended: AtomicBool,
}

/// A connection's place among the live ones; leaves when dropped.
pub(crate) struct Registration {
    sessions: Arc<LiveSessions>,
    id: u64,
}

impl LiveSessions {
    pub(crate) fn new(provisioner: Provisioner, backend: Backend, recheck_connect: bool) -> Arc<Self> {
        let index = Index { complete_after: provisioner.changes().latest(), ..Index::default() };
        Arc::new(Self {
            provisioner,
            backend,
            recheck_connect,
            index: Mutex::new(index),
            work: Notify::new(),
        })
    }

    /// Enters a connection. If something that it depends on has changed since it was admitted, it is looked at
    /// again at once; the commit that provisioned it is no such change.
    pub(crate) fn enter(
        self: &Arc<Self>,
        principal: Principal,
        connect: ConnectContext,
        granted: Granted,
    ) -> (LivePermissions, Registration) {
        let permissions = Arc::new(ArcSwap::from_pointee(granted.permissions));
        let (own, as_of) = (Dependency::Certificate(principal.id()), principal.as_of);
        let live = Live {
            principal,
            connect,
            permissions: Arc::clone(&permissions),
            depends_on: Mutex::new(granted.depends_on.clone()),
            as_of: AtomicU64::new(as_of.0),
            ended: AtomicBool::new(false),
        };
        let mut index = self.index.lock();
        index.next += 1;
        let id = index.next;
        index.sessions.insert(id, Arc::new(live));
        index.depend(id, &granted.depends_on);
        index.depend(id, std::slice::from_ref(&own));
        let stale = index.touched_after(as_of, &granted.depends_on)
            || index.touched_after(as_of, std::slice::from_ref(&own));
        if stale {
            index.mark(id);
            self.work.notify_one();
        }
        drop(index);
        (permissions, Registration { sessions: Arc::clone(self), id })
    }

    fn end_certificate(&self, certificate: CertificateId) {
        let sessions: Vec<Arc<Live>> = {
            let index = self.index.lock();
            let dependents = index.dependents.get(&Dependency::Certificate(certificate));
            dependents.into_iter().flatten().filter_map(|id| index.sessions.get(id).cloned()).collect()
        };
        for live in sessions.iter().filter(|live| live.principal.id() == certificate) {
            live.ended.store(true, Ordering::SeqCst);
        }
        self.backend.disconnect_certificate(certificate, SessionEnd::CertificateInactive);
    }

    /// Follows the change log until `stop` becomes true.
    pub(crate) async fn follow(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(Arc::clone(&self).work())).collect();
        tokio::select! {
            () = self.read_changes() => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
        for worker in workers {
            worker.abort();
        }
    }

    async fn read_changes(&self) {
        let changes = self.provisioner.changes();
        let mut done = self.index.lock().complete_after;
        loop {
            changes.beyond(done).await;
            match changes.since(done, BATCH).await {
                Ok(batch) => {
                    if let Some(last) = batch.last() {
                        done = last.revision;
                        self.apply(&batch).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "live sessions do not see changes: the change log cannot be read; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn apply(&self, batch: &[Arc<ChangeEntry>]) {
        // The last change of each counts: who has not seen an earlier one has not seen that.
        let mut touched: HashMap<Dependency, Revision> = HashMap::new();
        let mut ended = Vec::new();
        let mut reset = false;
        {
            let mut index = self.index.lock();
            for entry in batch {
                if matches!(entry.change, Change::Reset) {
                    index.complete_after = entry.revision;
                    index.recent.clear();
                    index.reset_up_to = index.next;
                    reset = true;
                }
                if let Change::Certificate { certificate_id, from: Some(CertificateStatus::Active), to } =
                    &entry.change
                    && *to != Some(CertificateStatus::Active)
                    && index.dependents.contains_key(&Dependency::Certificate(*certificate_id))
                {
                    ended.push(*certificate_id);
                }
                for dependency in entry.change.touches() {
                    if index.touch(entry.revision, &dependency) {
                        touched.insert(dependency, entry.revision);
                    }
                }
            }
        }
        for certificate in ended {
            self.end_certificate(certificate);
        }
        if reset {
            self.backend.forget_all().await;
        }
        for (dependency, revision) in touched {
            self.mark_dependents(&dependency, revision).await;
        }
    }

    /// Marks those who depend on what was touched and have not seen it. Who comes to depend on it meanwhile finds it among what
    /// was touched lately.
    async fn mark_dependents(&self, dependency: &Dependency, revision: Revision) {
        let dependents = self.index.lock().dependents_of(dependency);
        for some in dependents.chunks(MARKED_AT_ONCE) {
            if self.index.lock().mark_unseen(some, revision) {
                self.work.notify_waiters();
                self.work.notify_one();
            }
            if dependents.len() > MARKED_AT_ONCE {
                go_last().await;
            }
        }
    }

    /// Looks at dirty sessions again, one at a time.
    async fn work(self: Arc<Self>) {
        let mut turn = TURN;
        loop {
            if turn == 0 {
                turn = TURN;
                go_last().await;
            }
            let woken = self.work.notified();
            let Some((id, live)) = self.index.lock().next_dirty() else {
                woken.await;
                turn = TURN;
                continue;
            };
            turn -= 1;
            if let Err(error) = self.look_again(id, &live).await {
                tracing::error!(
                    %error,
                    clientId = &*live.connect.client_id,
                    "the permissions of a live session could not be computed again; trying again"
                );
                tokio::time::sleep(PAUSE).await;
                self.index.lock().mark(id);
            }
        }
    }

    async fn look_again(&self, id: u64, live: &Live) -> Result<(), RegistryError> {
        let as_of = self.provisioner.changes().latest();
        if let Some(reason) = self.provisioner.recheck(&live.principal).await? {
            tracing::debug!(clientId = &*live.connect.client_id, %reason, "a live session's certificate is refused now");
            self.end_certificate(live.principal.id());
            return Ok(());
        }
        let granted = self.provisioner.permissions(&live.principal, &live.connect).await?;
        let refused = self.recheck_connect
            && !granted.permissions.decide(Action::Connect, &live.connect.client_id).is_allowed();
        live.permissions.store(Arc::new(granted.permissions));
        self.index.lock().replace_dependencies(id, live, granted.depends_on, as_of);
        if refused {
            live.ended.store(true, Ordering::SeqCst);
            let client_id = &live.connect.client_id;
            self.backend.disconnect_client(client_id, live.principal.id(), SessionEnd::NotAuthorised);
        }
        Ok(())
    }
}

impl Live {
    fn as_of(&self) -> Revision {
        Revision(self.as_of.load(Ordering::SeqCst))
    }
}

impl Registration {
    /// The certificate was refused, or may no longer connect, since the connection entered. To be asked once the session
    /// is open; from then on the backend ends it.
    pub(crate) fn has_ended(&self) -> bool {
        let index = self.sessions.index.lock();
        self.id <= index.reset_up_to
            || index.sessions.get(&self.id).is_none_or(|live| live.ended.load(Ordering::SeqCst))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut index = self.sessions.index.lock();
        if let Some(live) = index.sessions.remove(&self.id) {
            let own = Dependency::Certificate(live.principal.id());
            index.undepend(self.id, &live.depends_on.lock());
            index.undepend(self.id, std::slice::from_ref(&own));
        }
    }
}

impl Index {
    fn depend(&mut self, id: u64, on: &[Dependency]) {
        for dependency in on {
            self.dependents.entry(dependency.clone()).or_default().insert(id);
        }
    }

    fn undepend(&mut self, id: u64, on: &[Dependency]) {
        for dependency in on {
            if let Some(dependents) = self.dependents.get_mut(dependency) {
                dependents.remove(&id);
                if dependents.is_empty() {
                    self.dependents.remove(dependency);
                }
            }
        }
    }

    /// Remembers a touch. Returns whether anybody depends on what is touched.
    fn touch(&mut self, revision: Revision, dependency: &Dependency) -> bool {
        // The changes of one commit touch the same few.
        let known =
            self.recent.iter().rev().take_while(|(at, _)| *at == revision).any(|(_, d)| d == dependency);
        if !known {
            self.remember(revision, dependency.clone());
        }
        self.dependents.contains_key(dependency)
    }

    fn dependents_of(&self, dependency: &Dependency) -> Vec<u64> {
        self.dependents.get(dependency).into_iter().flatten().copied().collect()
    }

    /// Marks those of them that have not seen a change. Returns whether there are any.
    fn mark_unseen(&mut self, ids: &[u64], revision: Revision) -> bool {
        let mut any = false;
        for id in ids {
            if self.sessions.get(id).is_some_and(|live| live.as_of() < revision) {
                self.mark(*id);
                any = true;
            }
        }
        any
    }

    fn remember(&mut self, revision: Revision, dependency: Dependency) {
        self.recent.push_back((revision, dependency));
        if self.recent.len() > REMEMBERED
            && let Some((forgotten, _)) = self.recent.pop_front()
        {
            self.complete_after = forgotten;
        }
    }

    /// Has any of these been touched after a revision, as far as the change log was read? Yes, if that was
    /// too long ago to know.
    fn touched_after(&self, seen: Revision, dependencies: &[Dependency]) -> bool {
        if seen < self.complete_after {
            return true;
        }
        let newer = self.recent.iter().rev().take_while(|(revision, _)| *revision > seen);
        newer.into_iter().any(|(_, touched)| dependencies.contains(touched))
    }

    fn mark(&mut self, id: u64) {
        if self.sessions.contains_key(&id) && self.is_dirty.insert(id) {
            self.dirty.push_back(id);
        }
    }

    fn next_dirty(&mut self) -> Option<(u64, Arc<Live>)> {
        loop {
            let id = self.dirty.pop_front()?;
            self.is_dirty.remove(&id);
            if let Some(live) = self.sessions.get(&id) {
                return Some((id, Arc::clone(live)));
            }
        }
    }

    fn replace_dependencies(&mut self, id: u64, live: &Live, now: Vec<Dependency>, as_of: Revision) {
        if !self.sessions.contains_key(&id) {
            return;
        }
        live.as_of.store(as_of.0, Ordering::SeqCst);
        let own = Dependency::Certificate(live.principal.id());
        let before = std::mem::replace(&mut *live.depends_on.lock(), now.clone());
        self.undepend(id, &before);
        self.depend(id, &now);
        self.depend(id, std::slice::from_ref(&own));
        if self.touched_after(as_of, &now) {
            self.mark(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BackendOptions, OpenRequest, ProtocolVersion};
    use jitp_certs::{Attribute, Authority, Certificate, KeyKind, LeafRequest, Validity};
    use jitp_provisioner::names::PolicyName;
    use jitp_provisioner::records::PolicyTarget;
    use jitp_provisioner::registry::RegisterCertificate;
    use jitp_provisioner::{Options, SystemClock};

    fn policy(name: &str) -> Dependency {
        Dependency::Policy(name.parse::<PolicyName>().unwrap())
    }

    #[test]
    fn a_change_is_remembered_for_those_who_looked_before_it() {
        let mut index = Index::default();
        for n in 1..=10 {
            index.touch(Revision(n), &policy(&format!("p{n}")));
        }
        assert!(index.touched_after(Revision(4), &[policy("p5")]));
        assert!(!index.touched_after(Revision(5), &[policy("p5")]));
        assert!(!index.touched_after(Revision(0), &[policy("other")]));
    }

    #[test]
    fn who_looked_too_long_ago_looks_again() {
        let mut index = Index::default();
        for n in 1..=(REMEMBERED as u64 + 10) {
            index.touch(Revision(n), &policy("p"));
        }
        assert_eq!(index.recent.len(), REMEMBERED);
        assert!(index.touched_after(Revision(9), &[policy("other")]));
        assert!(!index.touched_after(Revision(10), &[policy("other")]));
    }

    #[test]
    fn the_index_is_empty_when_the_last_dependent_left() {
        let mut index = Index::default();
        index.depend(1, &[policy("a"), policy("b")]);
        index.depend(2, &[policy("a")]);
        index.undepend(1, &[policy("a"), policy("b")]);
        assert_eq!(index.dependents.len(), 1);
        index.undepend(2, &[policy("a")]);
        assert!(index.dependents.is_empty());
    }

    /// A registered device with a policy, and live sessions that have not read the change log yet.
    struct Scene {
        _directory: tempfile::TempDir,
        sessions: Arc<LiveSessions>,
        certificate: Certificate,
        started: Revision,
    }

    impl Scene {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let provisioner = Provisioner::open(directory.path(), Options::default(), Arc::new(SystemClock));
            let provisioner = provisioner.await.unwrap();
            let limits = crate::Limits::default();
            let backend = Backend::start(BackendOptions::new(&limits, crate::Profile::Standard));
            let started = provisioner.changes().latest();
            let sessions = LiveSessions::new(provisioner, backend, true);
            let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
            let subject = vec![(Attribute::CommonName, "pump-1".to_owned())];
            let ca = Authority::create(&subject, validity, KeyKind::EcP256).unwrap();
            let request = LeafRequest { subject, validity, key: KeyKind::EcP256 };
            let certificate = ca.issue_device(&request).unwrap().certificate;
            let request = RegisterCertificate {
                certificate: certificate.to_pem(),
                of_ca: false,
                ca_certificate: None,
                status: CertificateStatus::Active,
            };
            sessions.provisioner.registry().register_certificate(request).await.unwrap();
            let scene = Self { _directory: directory, sessions, certificate, started };
            scene.attach("p").await;
            scene
        }
        async fn attach(&self, name: &str) {
            const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[
                {"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
            let (registry, name) =
                (self.sessions.provisioner.registry(), name.parse::<PolicyName>().unwrap());
            registry.create_policy(name.clone(), DOCUMENT).await.unwrap();
            registry.attach_policy(&name, PolicyTarget::Certificate(self.certificate.id())).await.unwrap();
        }
        /// As after a run whose commit is the newest.
        async fn admitted(&self) -> Principal {
            let provisioner = &self.sessions.provisioner;
            Principal {
                certificate: self.certificate.clone(),
                ca_certificate_id: None,
                provisioned_now: true,
                exclusive_thing: None,
                as_of: provisioner.changes().latest(),
                claim: None,
                seen: Default::default(),
            }
        }
        async fn enter(&self, principal: Principal) -> (LivePermissions, Registration) {
            let connect = ConnectContext {
                client_id: "pump-1".into(),
                source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
                server_name: None,
                persistent: false,
                will_topic: None,
            };
            let granted = self.sessions.provisioner.permissions(&principal, &connect).await.unwrap();
            self.sessions.enter(principal, connect, granted)
        }
        /// Applies all changes after a revision, as following does; returns whether a session is to be looked at.
        async fn catch_up(&self, after: Revision) -> bool {
            let batch = self.sessions.provisioner.changes().since(after, 1000).await.unwrap();
            assert!(!batch.is_empty());
            self.sessions.apply(&batch).await;
            self.is_dirty()
        }
        fn is_dirty(&self) -> bool {
            !self.sessions.index.lock().dirty.is_empty()
        }
    }

    #[tokio::test]
    async fn the_commit_that_provisioned_a_connection_computes_its_permissions_no_second_time() {
        let scene = Scene::new().await;
        // Following is behind the admission …
        let _late = scene.enter(scene.admitted().await).await;
        assert!(!scene.catch_up(scene.started).await);
        // … or before it.
        let _early = scene.enter(scene.admitted().await).await;
        assert!(!scene.is_dirty());
    }

    #[tokio::test]
    async fn a_change_between_admission_and_entry_is_seen_whoever_is_first() {
        for followed_first in [false, true] {
            let scene = Scene::new().await;
            let principal = scene.admitted().await;
            let as_of = principal.as_of;
            scene.catch_up(scene.started).await;
            scene.attach("q").await;
            if followed_first {
                assert!(!scene.catch_up(as_of).await, "nobody is there yet");
            }
            let _entered = scene.enter(principal).await;
            let seen = if followed_first { scene.is_dirty() } else { scene.catch_up(as_of).await };
            assert!(seen, "followed first: {followed_first}");
        }
    }

    #[tokio::test]
    async fn a_session_that_was_looked_at_again_waits_for_the_next_change() {
        let scene = Scene::new().await;
        let principal = scene.admitted().await;
        let as_of = principal.as_of;
        let _entered = scene.enter(principal).await;
        scene.attach("q").await;
        assert!(scene.catch_up(as_of).await);
        let (id, live) = scene.sessions.index.lock().next_dirty().unwrap();
        scene.sessions.look_again(id, &live).await.unwrap();
        assert!(!scene.catch_up(as_of).await, "all of it was seen when it was looked at");
    }

    #[tokio::test]
    async fn a_change_that_very_many_depend_on_marks_some_at_a_time_and_each_once() {
        const MANY: usize = 3 * MARKED_AT_ONCE;
        let scene = Scene::new().await;
        let sessions = &scene.sessions;
        let as_of = scene.admitted().await.as_of;
        scene.catch_up(scene.started).await;
        let mut entered = Vec::new();
        for _ in 0..MANY {
            entered.push(scene.enter(scene.admitted().await).await);
        }
        let early = scene.admitted().await;
        scene.attach("q").await;
        let batch = sessions.provisioner.changes().since(as_of, 1000).await.unwrap();
        let marked = || sessions.index.lock().dirty.len();

        let mut applying = Box::pin(sessions.apply(&batch));
        assert!(poll_once(applying.as_mut()).is_none());
        assert_eq!(marked(), MARKED_AT_ONCE);
        // In the middle: one is looked at, one goes, and two come, of which one was admitted before the change.
        let (id, live) = sessions.index.lock().next_dirty().unwrap();
        sessions.look_again(id, &live).await.unwrap();
        let unmarked =
            entered.iter().position(|(_, r)| !sessions.index.lock().is_dirty.contains(&r.id) && r.id != id);
        entered.remove(unmarked.unwrap());
        let (_, early) = scene.enter(early).await;
        assert!(sessions.index.lock().is_dirty.contains(&early.id), "at once");
        let (_, late) = scene.enter(scene.admitted().await).await;
        applying.await;
        assert_eq!(marked(), MANY - 2 + 1);
        let index = sessions.index.lock();
        assert!(!index.is_dirty.contains(&id) && !index.is_dirty.contains(&late.id), "they have seen it");
        drop(index);
    }

    #[tokio::test]
    async fn a_certificate_that_is_refused_while_its_session_is_being_opened_is_noticed() {
        for deactivated in [false, true] {
            let scene = Scene::new().await;
            let (sessions, certificate) = (&scene.sessions, scene.certificate.id());
            let principal = scene.admitted().await;
            let as_of = principal.as_of;
            let request = OpenRequest {
                client_id: "pump-1".into(),
                certificate: Some(certificate),
                version: ProtocolVersion::V5,
                clean_start: true,
                session_expiry: Duration::ZERO,
                receive_maximum: 100,
                will: None,
            };
            // Someone else holds the session, so that opening it takes as long as this test wants.
            let other = OpenRequest { certificate: None, ..request.clone() };
            let other = sessions.backend.open(other).await.unwrap().session;
            let (_permissions, registration) = scene.enter(principal).await;
            let mut opening = Box::pin(sessions.backend.open(request));
            assert!(poll_once(opening.as_mut()).is_none(), "held by the other");
            assert!(!registration.has_ended());

            let registry = sessions.provisioner.registry();
            if deactivated {
                registry.update_certificate(certificate, CertificateStatus::Inactive).await.unwrap();
                scene.catch_up(as_of).await;
            } else {
                let target = PolicyTarget::Certificate(certificate);
                registry.detach_policy(&"p".parse().unwrap(), &target).await.unwrap();
                assert!(scene.catch_up(as_of).await);
                let (id, live) = sessions.index.lock().next_dirty().unwrap();
                sessions.look_again(id, &live).await.unwrap();
            }
            drop(other);
            let opened = opening.await.unwrap();
            assert_eq!(opened.session.ended(), None, "the backend could not know of it");
            assert!(registration.has_ended());

            // From now on the backend ends it.
            sessions.end_certificate(certificate);
            assert_eq!(opened.session.ended(), Some(SessionEnd::CertificateInactive));
        }
    }

    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

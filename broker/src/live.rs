//! Live sessions following the registry: a revoked certificate ends its connections, a changed policy changes
//! what they may do, within a second (`spec/policies.md` section 4, `spec/jitp.md` section 9).
//!
//! The cost of a change is that of the sessions it touches: an index leads from what changed to them. Changes
//! that touch no session, as those of a provisioning storm mostly do, cost one look-up each.
use crate::backend::{Backend, SessionEnd};
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
use std::sync::atomic::{AtomicBool, Ordering};
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
}

/// One live connection.
struct Live {
    principal: Principal,
    connect: ConnectContext,
    permissions: LivePermissions,
    depends_on: Mutex<Vec<Dependency>>,
    /// Set before the backend is told: a connection whose session is just being opened looks here afterwards.
    ended: AtomicBool,
}

/// A connection's place among the live ones; leaves when dropped.
pub(crate) struct Registration {
    sessions: Arc<LiveSessions>,
    id: u64,
}

/// When a connection read what it was admitted by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeenAt {
    /// Before its certificate was looked up.
    pub admission: Revision,
    /// Before its permissions were computed.
    pub permissions: Revision,
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

    /// Enters a connection. If something that it depends on has changed since it looked, it is looked at
    /// again at once.
    pub(crate) fn enter(
        self: &Arc<Self>,
        principal: Principal,
        connect: ConnectContext,
        granted: Granted,
        seen_at: SeenAt,
    ) -> (LivePermissions, Registration) {
        let permissions = Arc::new(ArcSwap::from_pointee(granted.permissions));
        let own = Dependency::Certificate(principal.id());
        let live = Live {
            principal,
            connect,
            permissions: Arc::clone(&permissions),
            depends_on: Mutex::new(granted.depends_on.clone()),
            ended: AtomicBool::new(false),
        };
        let mut index = self.index.lock();
        index.next += 1;
        let id = index.next;
        index.sessions.insert(id, Arc::new(live));
        index.depend(id, &granted.depends_on);
        index.depend(id, std::slice::from_ref(&own));
        let stale = index.touched_after(seen_at.permissions, &granted.depends_on)
            || index.touched_after(seen_at.admission, std::slice::from_ref(&own));
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
                        self.apply(&batch);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "live sessions do not see changes: the change log cannot be read; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn apply(&self, batch: &[ChangeEntry]) {
        let mut touched_sessions = false;
        let mut ended = Vec::new();
        {
            let mut index = self.index.lock();
            for entry in batch {
                if let Change::Certificate { certificate_id, from: Some(CertificateStatus::Active), to } =
                    &entry.change
                    && *to != Some(CertificateStatus::Active)
                    && index.dependents.contains_key(&Dependency::Certificate(*certificate_id))
                {
                    ended.push(*certificate_id);
                }
                for dependency in entry.change.touches() {
                    touched_sessions |= index.touch(entry.revision, dependency);
                }
            }
        }
        for certificate in ended {
            self.end_certificate(certificate);
        }
        if touched_sessions {
            self.work.notify_waiters();
            self.work.notify_one();
        }
    }

    /// Looks at dirty sessions again, one at a time.
    async fn work(self: Arc<Self>) {
        loop {
            let woken = self.work.notified();
            let Some((id, live)) = self.index.lock().next_dirty() else {
                woken.await;
                continue;
            };
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
        let seen_at = self.provisioner.changes().latest();
        if let Some(reason) = self.provisioner.recheck(&live.principal).await? {
            tracing::debug!(clientId = &*live.connect.client_id, %reason, "a live session's certificate is refused now");
            self.end_certificate(live.principal.id());
            return Ok(());
        }
        let granted = self.provisioner.permissions(&live.principal, &live.connect).await?;
        let refused = self.recheck_connect
            && !granted.permissions.decide(Action::Connect, &live.connect.client_id).is_allowed();
        live.permissions.store(Arc::new(granted.permissions));
        self.index.lock().replace_dependencies(id, live, granted.depends_on, seen_at);
        if refused {
            self.backend.disconnect(&live.connect.client_id, SessionEnd::NotAuthorised);
        }
        Ok(())
    }
}

impl Registration {
    /// The certificate was refused since the connection entered. To be asked once the session is open; from
    /// then on the backend ends it.
    pub(crate) fn has_ended(&self) -> bool {
        let index = self.sessions.index.lock();
        index.sessions.get(&self.id).is_none_or(|live| live.ended.load(Ordering::SeqCst))
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

    /// Remembers a touch and marks its dependents. Returns whether there are any.
    fn touch(&mut self, revision: Revision, dependency: Dependency) -> bool {
        let ids: Vec<u64> = self.dependents.get(&dependency).into_iter().flatten().copied().collect();
        for id in &ids {
            self.mark(*id);
        }
        self.recent.push_back((revision, dependency));
        if self.recent.len() > REMEMBERED
            && let Some((forgotten, _)) = self.recent.pop_front()
        {
            self.complete_after = forgotten;
        }
        !ids.is_empty()
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

    fn replace_dependencies(&mut self, id: u64, live: &Live, now: Vec<Dependency>, seen_at: Revision) {
        if !self.sessions.contains_key(&id) {
            return;
        }
        let own = Dependency::Certificate(live.principal.id());
        let before = std::mem::replace(&mut *live.depends_on.lock(), now.clone());
        self.undepend(id, &before);
        self.depend(id, &now);
        self.depend(id, std::slice::from_ref(&own));
        if self.touched_after(seen_at, &now) {
            self.mark(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jitp_provisioner::names::PolicyName;

    fn policy(name: &str) -> Dependency {
        Dependency::Policy(name.parse::<PolicyName>().unwrap())
    }

    #[test]
    fn a_change_is_remembered_for_those_who_looked_before_it() {
        let mut index = Index::default();
        for n in 1..=10 {
            index.touch(Revision(n), policy(&format!("p{n}")));
        }
        assert!(index.touched_after(Revision(4), &[policy("p5")]));
        assert!(!index.touched_after(Revision(5), &[policy("p5")]));
        assert!(!index.touched_after(Revision(0), &[policy("other")]));
    }

    #[test]
    fn who_looked_too_long_ago_looks_again() {
        let mut index = Index::default();
        for n in 1..=(REMEMBERED as u64 + 10) {
            index.touch(Revision(n), policy("p"));
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
}

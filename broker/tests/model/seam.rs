//! Plays scripts at the backend's seam: no socket, no thread, and a clock that only the script moves.
//!
//! What a connection of the broker does between the wire and the seam is done here by hand, one thing after another, and so is
//! what a well-behaved client does on the other side of the wire.
use super::client::Client;
use super::process::{LONGEST_EXPIRY, Process, turns};
use super::script::{Acknowledges, CLIENTS, Connect, Disconnect, Publish, Script, Step, Until};
use super::semantics::Model;
use super::storage::Storage;
use super::translation::number_of;
use jitp_broker::backend::{Backend, SessionEnd};
use jitp_provisioner::{ManualClock, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When scripts begin, in milliseconds since 1970.
const BEGINNING: u64 = 1_767_225_600_000;
/// How often in a row nothing comes before nothing more is expected.
const QUIET: usize = 3;

/// Plays a script; an error says at which step the broker did what the model does not.
pub fn play(script: &Script, storage: Box<dyn Storage>) -> Result<(), String> {
    let mut stage = Stage::open(storage);
    for (number, step) in script.0.iter().enumerate() {
        stage
            .step(step)
            .map_err(|wrong| format!("step {number}, {step:?}: {wrong}\nof this script:{script:?}"))?;
    }
    stage.finale().map_err(|wrong| format!("at the end: {wrong}\nof this script:{script:?}"))
}

pub struct Stage {
    pub storage: Box<dyn Storage>,
    pub clock: Arc<ManualClock>,
    pub seconds: u64,
    /// `None` only while it is replaced.
    pub process: Option<Process>,
    pub model: Model,
    pub clients: [Client; CLIENTS],
}

impl Stage {
    pub fn open(storage: Box<dyn Storage>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp(BEGINNING)));
        let process = Some(Process::start(&*storage, &clock));
        Self {
            storage,
            clock,
            seconds: 0,
            process,
            model: Model::new(LONGEST_EXPIRY),
            clients: Default::default(),
        }
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    pub fn backend(&self) -> Backend {
        self.process().backend.clone()
    }

    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        let rushed = match step {
            Step::Connect(connect) => {
                self.connect(connect)?;
                false
            }
            Step::Disconnect(gone) => {
                self.disconnect(gone);
                gone.rushed
            }
            Step::Subscribe(subscribe) => {
                self.subscribe(subscribe)?;
                false
            }
            Step::Unsubscribe { client, filter } => {
                self.unsubscribe(*client, *filter)?;
                false
            }
            Step::Publish(publish) => {
                self.publish(publish)?;
                publish.rushed
            }
            Step::Burst { topic, qos, count } => {
                for _ in 0..*count {
                    let (topic, qos) = (*topic, *qos);
                    let until = Until::Sent;
                    let (client, retain, empty, expiry) = (None, false, false, None);
                    self.publish(&Publish {
                        client,
                        topic,
                        qos,
                        retain,
                        empty,
                        expiry,
                        until,
                        rushed: true,
                    })?;
                }
                false
            }
            Step::Finish { client } => {
                self.settle();
                self.finish(*client, false)?;
                false
            }
            Step::Acknowledge { client } => {
                self.acknowledge(*client);
                false
            }
            Step::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.second()?;
                }
                false
            }
            Step::Restart => {
                self.restart()?;
                false
            }
            Step::Kill => {
                self.kill()?;
                false
            }
        };
        match rushed {
            true => (0..CLIENTS).try_for_each(|client| self.take(client).map(drop)),
            false => self.take_all(),
        }
    }

    /// Everybody comes back and takes what is left, and then nothing is left.
    pub fn finale(&mut self) -> Result<(), String> {
        self.take_all()?;
        for client in 0..CLIENTS {
            if self.model.has_session(client) {
                self.connect(&Connect {
                    client,
                    v5: true,
                    clean: false,
                    expiry: LONGEST_EXPIRY,
                    receive_maximum: u16::MAX,
                    acknowledges: Acknowledges::Everything,
                    will: None,
                })?;
            }
            self.take_all()?;
        }
        let patience = self.patience();
        while let Err(lost) = self.model.check_groups() {
            // It may have to be found in what an ended session has left.
            self.take_all()?;
            if patience() {
                return Err(lost);
            }
        }
        for client in 0..CLIENTS {
            self.disconnect(&Disconnect { client, with_will: false, expiry: Some(0), rushed: false });
            self.take_all()?;
        }
        Ok(())
    }

    /// Everybody takes what there is for them, until nothing more comes and everything is stored.
    pub fn take_all(&mut self) -> Result<(), String> {
        let patience = self.patience();
        let mut quiet = 0;
        while quiet < QUIET {
            let mut came = 0;
            for client in 0..CLIENTS {
                came += self.take(client)?;
            }
            self.settle();
            came += self.release()?;
            let owed =
                (0..CLIENTS).any(|client| self.has_room(client) && self.model.missing(client).is_some());
            quiet = if came > 0 || (owed && !patience()) { 0 } else { quiet + 1 };
        }
        for client in 0..CLIENTS {
            if self.has_room(client) {
                self.model.nothing_more(client)?;
            }
        }
        self.model.settled();
        self.compare()
    }

    /// Says when enough was waited for the store.
    pub fn patience(&self) -> impl Fn() -> bool + use<> {
        let (started, patience) = (Instant::now(), self.storage.patience());
        move || started.elapsed() >= patience
    }

    pub fn has_room(&self, client: usize) -> bool {
        let connection = self.clients[client].connection.as_ref();
        connection.is_some_and(|connection| connection.session.in_flight().count() < connection.window)
    }

    /// What can be seen of the broker is what the model says.
    pub fn compare(&self) -> Result<(), String> {
        let backend = self.backend();
        let _inside = self.process().runtime.enter();
        let retained = backend.retained_after(None, usize::MAX);
        let retained: BTreeSet<_> =
            retained.iter().map(|message| (&*message.topic, number_of(message))).collect();
        let expected: BTreeSet<_> =
            self.model.retained().into_iter().map(|(topic, number)| (topic, Some(number))).collect();
        if retained != expected {
            return Err(format!("{retained:?} is retained, and not {expected:?}"));
        }
        let counts = backend.counts();
        let counts = (counts.online, counts.offline, counts.subscriptions);
        match self.model.counts() {
            Some(expected) if expected != counts => {
                Err(format!("(online, offline, subscriptions) are {counts:?}, and not {expected:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Lets every task run, and waits until what was recorded is stored.
    pub fn settle(&self) {
        let process = self.process();
        process.runtime.block_on(async {
            turns().await;
            process.backend.settled().await;
            turns().await;
        });
    }

    pub fn second(&mut self) -> Result<(), String> {
        self.take_all()?;
        self.seconds += 1;
        self.clock.set(Timestamp(BEGINNING + 1000 * self.seconds));
        self.process().runtime.block_on(async {
            tokio::time::advance(Duration::from_secs(1)).await;
            turns().await;
        });
        self.model.tick();
        self.see_retained();
        self.take_all()
    }

    /// Looks whether a will is retained that may be.
    pub fn see_retained(&mut self) {
        let backend = self.backend();
        let _inside = self.process.as_ref().unwrap().runtime.enter();
        self.model.see_retained(|topic| backend.retained(topic).and_then(|message| number_of(&message)));
    }

    pub fn restart(&mut self) -> Result<(), String> {
        self.take_all()?;
        self.backend().disconnect_all(SessionEnd::ShuttingDown);
        for client in 0..CLIENTS {
            self.disconnect(&Disconnect { client, with_will: true, expiry: None, rushed: false });
        }
        self.settle();
        self.model.settled();
        self.model.restarted();
        self.replace_process();
        Ok(())
    }

    pub fn kill(&mut self) -> Result<(), String> {
        // The runtime first: nothing that is recorded from here on is stored.
        let Some(Process { runtime, backend, .. }) = self.process.take() else { return Ok(()) };
        runtime.shutdown_background();
        for client in &mut self.clients {
            client.connection = None;
        }
        drop(backend);
        self.replace_process();
        let backend = self.backend();
        let runtime = &self.process().runtime;
        let _inside = runtime.enter();
        let retained = |topic: &str| backend.retained(topic).and_then(|message| number_of(&message));
        self.model.killed(retained)
    }

    pub fn replace_process(&mut self) {
        self.process = None;
        self.storage.reopen();
        self.process = Some(Process::start(&*self.storage, &self.clock));
    }
}

//! Following the change log: every change that has an event is published after its commit, at least once,
//! also across a crash (`spec/events.md` section 1).
use super::registry_event::{self, Owner};
use crate::backend::Backend;
use crate::message::{Message, QoS};
use jitp_provisioner::records::EventConfigurations;
use jitp_provisioner::{Change, ChangeEntry, Provisioner, RegistryError};
use std::time::Duration;
use tokio::sync::watch;

/// The name that the cursor is stored under.
const CONSUMER: &str = "events";
/// Changes read at once.
const BATCH: usize = 512;
/// The pause after the registry could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes events until `stop` becomes true; then what is committed already is still published.
pub(crate) async fn follow(provisioner: Provisioner, backend: Backend, mut stop: watch::Receiver<bool>) {
    let mut outbox = Outbox {
        owner: Owner {
            account: provisioner.options().account.clone(),
            region: provisioner.options().region.clone(),
        },
        switches: None,
        provisioner,
        backend,
    };
    loop {
        match outbox.run(&mut stop).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(%error, "events are delayed: the change log cannot be read; trying again");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = stop.wait_for(|stopped| *stopped) => return,
                }
            }
        }
    }
}

struct Outbox {
    provisioner: Provisioner,
    backend: Backend,
    owner: Owner,
    /// `None`: to be read again.
    switches: Option<EventConfigurations>,
}

impl Outbox {
    async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), RegistryError> {
        let changes = self.provisioner.clone();
        let changes = changes.changes();
        let mut done = changes.cursor(CONSUMER).await?;
        loop {
            let batch = changes.since(done, BATCH).await?;
            let Some(last) = batch.last() else {
                tokio::select! {
                    () = changes.beyond(done) => continue,
                    _ = stop.wait_for(|stopped| *stopped) => return Ok(()),
                }
            };
            let last = last.revision;
            for entry in &batch {
                self.publish(entry).await?;
            }
            // Not before it is stored for those who will come back for it.
            self.backend.settled().await;
            changes.advance(CONSUMER, last).await?;
            done = last;
        }
    }

    async fn publish(&mut self, entry: &ChangeEntry) -> Result<(), RegistryError> {
        if matches!(entry.change, Change::EventConfigurations | Change::Reset) {
            self.switches = None;
            return Ok(());
        }
        let switches = match &mut self.switches {
            Some(switches) => switches,
            unread => unread.insert(self.provisioner.registry().event_configurations().await?),
        };
        let Some(topic) = registry_event::topic(&entry.change, switches) else { return Ok(()) };
        if !self.backend.has_subscriber(&topic) {
            return Ok(());
        }
        let payload = match &entry.change {
            Change::Attempted { sequence, .. } => {
                let attempt = self.provisioner.attempt(*sequence).await?;
                attempt.and_then(|attempt| serde_json::to_string(&attempt).ok())
            }
            _ => registry_event::payload(entry, &self.owner).map(|payload| payload.to_string()),
        };
        let Some(payload) = payload else { return Ok(()) };
        // Nothing is retained here, so it cannot be refused.
        let _ = self.backend.publish(Message::new(topic, payload, QoS::AtLeastOnce));
        Ok(())
    }
}

//! A plant: a broker, a CA whose devices provision themselves, and staff who may do everything.
use crate::{Broker, BrokerOptions, Factory, Watcher};
use serde_json::{Value, json};

/// The thing is named by the common name, its attribute `line` by the unit; the policy `device` must exist.
pub const TEMPLATE: &str = include_str!("../../cli/demo/template.json");
/// A thing may connect under its own name and use `devices/NAME/#`.
pub const POLICY: &str = include_str!("../../cli/demo/device-policy.json");
/// No thing; a policy of the template's own that allows everything.
pub const OPEN_TEMPLATE: &str = include_str!("../../cli/demo/operator-template.json");

/// [`TEMPLATE`] with changes.
pub fn edited(edit: impl FnOnce(&mut Value)) -> anyhow::Result<String> {
    let mut template = serde_json::from_str(TEMPLATE)?;
    edit(&mut template);
    Ok(template.to_string())
}

/// A broker, a factory that is registered with [`TEMPLATE`], and staff.
pub struct Plant {
    /// The broker.
    pub broker: Broker,
    /// Its CA is registered with [`TEMPLATE`].
    pub factory: Factory,
    /// Its CA is registered with [`OPEN_TEMPLATE`].
    pub staff: Factory,
}

impl Plant {
    /// With the broker's defaults.
    pub fn new() -> anyhow::Result<Self> {
        Self::with(BrokerOptions::default())
    }

    /// For very many at once. Clients and broker share the machine: what is tried is not how fast they are.
    pub fn unhurried() -> anyhow::Result<Self> {
        Self::with(BrokerOptions::config(
            "[broker]\nhandshake_deadline_seconds = 120\nconnect_deadline_seconds = 120\n\
             [provisioning]\nrun_deadline_seconds = 120\n[log]\nlevel = \"warn\"\n",
        ))
    }

    /// With other options.
    pub fn with(options: BrokerOptions) -> anyhow::Result<Self> {
        let broker = Broker::start_with(options)?;
        let (factory, staff) = (Factory::new("Plant CA")?, Factory::new("Staff CA")?);
        let policy = factory.file("device-policy.json", POLICY)?;
        broker.ask(&["policy", "create", "device", "--document", &policy.display().to_string()])?;
        factory.register(&broker, TEMPLATE)?;
        staff.register(&broker, OPEN_TEMPLATE)?;
        Ok(Self { broker, factory, staff })
    }

    /// A member of staff who listens.
    pub async fn watcher(&self, name: &str, filters: &[&str]) -> anyhow::Result<Watcher> {
        let who = self.staff.device(name)?;
        Watcher::connect(&self.broker, &who, name, filters).await
    }

    /// Switches on the registry's events about things.
    pub async fn announce_things(&self) -> anyhow::Result<()> {
        let body = json!({ "eventConfigurations": { "THING": { "Enabled": true } } });
        self.broker.api()?.patch("/event-configurations", &body).await.map(|_| ())
    }

    /// Starts the broker again over the same data directory.
    pub fn restart(self) -> anyhow::Result<Self> {
        Ok(Self { broker: self.broker.restart()?, ..self })
    }
}

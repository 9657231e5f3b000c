//! `jitp serve`: bind, say so, run until told to stop, drain.
use crate::args::{Global, Serve};
use crate::config::Config;
use crate::data_dir::{DataDir, server_hosts};
use crate::exit::{Exit, InvalidInput};
use crate::{listeners, logging, open_files, output};
use anyhow::Context;
use jitp_api::{AccessKey, AccessKeys, Api, Tls};
use jitp_broker::{Broker, Protocol};
use jitp_provisioner::archive::{ImportError, Imported, Seed, import};
use jitp_provisioner::{Clock, Provisioner, Registry, SystemClock};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const DRAIN: Duration = Duration::from_secs(10);

pub async fn run(global: &Global, args: Serve) -> anyhow::Result<Exit> {
    let config = configuration(&args)?;
    logging::start(&config.log, &config.server.account)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let beginning = Beginning { seed: args.seed, allow_reset: args.allow_reset };
    let service = Service::start(&DataDir::open(&global.data_dir)?, &config, &beginning).await?;
    output::line(&service.ready_line())?;
    if let Err(error) = service.provisioner.prepare_keys().await {
        tracing::warn!(%error, "no keys are made ahead: the first devices that ask for one wait for it");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: draining connections");
    service.stop().await?;
    Ok(Exit::Success)
}

fn configuration(args: &Serve) -> anyhow::Result<Config> {
    let invalid = |error: anyhow::Error| InvalidInput(format!("{error:#}"));
    let mut config = Config::load(args.config.as_deref()).map_err(invalid)?;
    let Serve { mqtt, https, api, api_tls, insecure_api, profile, account, region, hosts, .. } = args.clone();
    for (given, listen) in [(mqtt, &mut config.broker.listen), (https, &mut config.https.listen)] {
        if !given.is_empty() {
            *listen = given;
        }
    }
    config.api.listen = api.unwrap_or(config.api.listen);
    config.api.tls |= api_tls;
    config.api.insecure |= insecure_api;
    config.broker.compat = profile.unwrap_or(config.broker.compat);
    config.server.account = account.unwrap_or(config.server.account);
    config.server.region = region.unwrap_or(config.server.region);
    config.server.hosts.extend(hosts);
    config.check().and_then(|()| listeners::check_reachable(&config)).map_err(invalid)?;
    Ok(config)
}

/// What the registry begins with.
#[derive(Default)]
pub struct Beginning {
    /// An archive.
    pub seed: Option<PathBuf>,
    /// May it be returned to that?
    pub allow_reset: bool,
}

impl Beginning {
    /// Loads the seed where there is no registry yet. Gives what the registry may be returned to.
    async fn prepare(&self, data: &DataDir, config: &Config) -> anyhow::Result<Option<Arc<Seed>>> {
        let (account, region) = (&config.server.account, &config.server.region);
        let invalid = |error: &dyn std::fmt::Display| InvalidInput(error.to_string());
        if let Some(archive) = &self.seed {
            match import(data.path(), archive, Some((account, region)), &mut |_| {}).await {
                Ok(Imported::Loaded(loaded)) => tracing::info!(records = loaded.records, "seeded"),
                Ok(Imported::NotEmpty) => {
                    tracing::info!("there is a registry already: it is not seeded again")
                }
                Err(ImportError::Archive(error)) => return Err(invalid(&error).into()),
                Err(error) => return Err(error.into()),
            }
        }
        if !self.allow_reset {
            return Ok(None);
        }
        tracing::warn!("an admin may reset the registry over the API");
        let seed = match &self.seed {
            Some(archive) => Seed::read(archive, account, region).map_err(|error| invalid(&error))?,
            None => Seed::default(),
        };
        Ok(Some(Arc::new(seed)))
    }
}

/// Everything that `serve` and `demo` run.
pub struct Service {
    provisioner: Provisioner,
    broker: Broker,
    api: Api,
    scheme: &'static str,
}

impl Service {
    pub async fn start(data: &DataDir, config: &Config, beginning: &Beginning) -> anyhow::Result<Self> {
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().ok();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let now = clock.now().unix_seconds();
        let reset = beginning.prepare(data, config).await?;
        let provisioner = Provisioner::open(data.path(), config.provisioner()?, clock)
            .await
            .with_context(|| format!("cannot open the registry in {}", data.path().display()))?;
        let identity = data.server_identity(&server_hosts(&config.server.hosts), now)?;
        let tls = config.api.tls.then(|| Tls {
            certificate_chain: identity.certificate_chain.clone(),
            private_key: identity.private_key.clone().into(),
        });
        let key = data.access_key()?;
        let mut devices = config.broker();
        devices.limits.connections =
            open_files::raise_for(devices.limits.connections, config.api.max_connections);
        let broker = Broker::start(devices, identity, provisioner.clone())
            .await
            .context("the broker does not start")?;
        if let Some(seed) = reset.clone() {
            tokio::spawn(prepare_reset(provisioner.registry().clone(), seed));
        }
        let api = jitp_api::Config {
            listen: config.api.listen,
            tls,
            limits: config.api_limits(),
            rates: config.api_rates()?,
            keys: AccessKeys(vec![AccessKey { id: key.id, secret: key.secret }]),
            endpoint: endpoint(config, broker.local_address()),
            reset,
            metrics: metrics
                .map(|handle| Arc::new(move || handle.render()) as Arc<dyn Fn() -> String + Send + Sync>),
        };
        let api = Api::start(api, provisioner.clone())
            .await
            .with_context(|| format!("cannot listen on {} (--api, api.listen)", config.api.listen))?;
        Ok(Self { provisioner, broker, api, scheme: if config.api.tls { "https" } else { "http" } })
    }

    pub fn mqtt_address(&self) -> SocketAddr {
        self.broker.local_address()
    }

    pub fn api_address(&self) -> SocketAddr {
        self.api.local_address()
    }

    /// First the first listener of each kind, and then all others in their order.
    pub fn ready_line(&self) -> String {
        let mut others = self.broker.listening().to_vec();
        let mut first = |wanted| {
            let at = others.iter().position(|(protocol, _)| *protocol == wanted)?;
            let (protocol, address) = others.remove(at);
            Some(format!("{protocol}={address}"))
        };
        let mut words = vec!["ready".to_owned()];
        words.extend(first(Protocol::Mqtts));
        let https = first(Protocol::Https);
        words.push(format!("api={}://{}", self.scheme, self.api_address()));
        words.extend(https);
        words.extend(others.iter().map(|(protocol, address)| format!("{protocol}={address}")));
        words.join(" ")
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.api.shutdown(DRAIN).await;
        self.broker.shutdown(DRAIN).await;
        self.provisioner.close().await.context("the registry did not close cleanly")
    }
}

async fn prepare_reset(registry: Registry, seed: Arc<Seed>) {
    if let Err(error) = registry.prepare_reset(&seed).await {
        tracing::warn!(%error, "the first reset will take longer: how the registry differs from its seed is not known");
    }
}

/// What DescribeEndpoint answers: a host that the server's certificate names, with the port unless it is 8883.
fn endpoint(config: &Config, address: SocketAddr) -> String {
    let host = match (config.server.endpoint.as_str(), config.server.hosts.first()) {
        ("", Some(host)) => host.as_str(),
        ("", None) => "localhost",
        (endpoint, _) => return endpoint.to_owned(),
    };
    if address.port() == 8883 { host.to_owned() } else { format!("{host}:{}", address.port()) }
}

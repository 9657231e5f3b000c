//! The configuration: `default.toml` embedded, a file merged over it, flags over that. Parsed once into typed values.
use crate::device_http::HttpOverTls;
use crate::hooks;
use crate::issuing::Issuing;
use crate::listeners::{self, Listener};
use anyhow::{Context, bail};
use jitp_templates::nearest::did_you_mean;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The manual and the defaults: what `jitp config` prints.
pub const DEFAULT: &str = include_str!("../default.toml");

/// The longest time in seconds that can be configured where a time must be finite: ten years.
const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// AWS allows fewer policies on a thing group than jitp (`spec/quotas.md` sections 4 and 8).
const AWS_POLICIES_PER_GROUP: usize = 2;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub broker: Broker,
    pub https: Https,
    pub api: Api,
    pub provisioning: Provisioning,
    pub issuing: Issuing,
    pub hooks: BTreeMap<String, Hook>,
    pub registry: Registry,
    pub bulk: Bulk,
    pub log: Log,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub account: String,
    pub region: String,
    pub hosts: Vec<String>,
    pub endpoint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    Standard,
    Aws,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dropped {
    Newest,
    Oldest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Excess {
    Delay,
    Drop,
    Disconnect,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// In the file one address, or nothing.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    pub listeners: Vec<Listener>,
    pub compat: Profile,
    pub require_sni: bool,
    pub disconnect_at_expiry: bool,
    pub recheck_connect: bool,
    pub max_connections: usize,
    pub max_handshakes: usize,
    pub max_waiting_handshakes: usize,
    pub handshake_deadline_seconds: u64,
    pub connect_deadline_seconds: u64,
    pub packet_deadline_seconds: u64,
    pub write_deadline_seconds: u64,
    pub max_packet_bytes: u32,
    pub max_payload_bytes: u32,
    pub max_content_type_bytes: usize,
    pub max_property_bytes: usize,
    pub max_message_expiry_seconds: u64,
    pub max_topic_bytes: usize,
    pub max_topic_levels: usize,
    pub max_filters_per_subscribe: usize,
    pub max_subscriptions_per_session: usize,
    pub receive_maximum: u16,
    pub topic_aliases: u16,
    pub max_queued_messages: usize,
    pub max_queued_bytes: usize,
    pub queue_full_drops: Dropped,
    pub publisher_patience_seconds: u64,
    pub max_stored_messages: u64,
    pub max_stored_bytes: u64,
    pub session_expiry_seconds: u64,
    pub min_keep_alive_seconds: u16,
    pub max_keep_alive_seconds: u16,
    pub max_retained_messages: usize,
    pub max_queued_requests: usize,
    pub max_publishes_per_second: u32,
    pub max_publishes_per_second_of_certificate: u32,
    pub publish_excess: Excess,
    pub max_deliveries_per_second: u32,
    pub max_bytes_per_second: u32,
    pub max_bytes_per_second_of_certificate: u32,
    pub max_subscribes_per_second: u32,
    pub max_connects_per_second: u32,
    pub max_connects_per_second_of_client: u32,
    pub max_retained_per_second_of_topic: u32,
    pub aws_rates: bool,
}

/// Where devices publish over HTTPS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// In the file one address, or nothing.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    pub max_header_bytes: usize,
    pub header_deadline_seconds: u64,
    pub body_deadline_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    pub tls: bool,
    pub insecure: bool,
    pub max_connections: usize,
    pub max_in_flight_per_key: usize,
    pub max_body_bytes: usize,
    pub max_header_bytes: usize,
    pub handshake_deadline_seconds: u64,
    pub header_deadline_seconds: u64,
    pub body_deadline_seconds: u64,
    pub quotas: Quotas,
    pub rates: BTreeMap<String, u32>,
}

/// Whose rates the operations of the API have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quotas {
    None,
    Aws,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OverrideDefault {
    DoNothing,
    Fail,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioning {
    pub runs_per_certificate_per_second: u32,
    pub runs_per_ca_per_second: u32,
    pub run_deadline_seconds: u64,
    pub fleet_create_keys_per_second: u32,
    pub fleet_create_from_csr_per_second: u32,
    pub fleet_register_thing_per_second: u32,
    pub override_default: OverrideDefault,
    pub functions_in_fleet_only: bool,
    pub thing_vars_require_attachment: bool,
    pub jitp_serial_fallback: bool,
}

/// A program that templates may name as their hook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    pub arn: String,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub command: Option<Vec<String>>,
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    #[serde(default)]
    pub secret_env: Option<String>,
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default = "Hook::default_concurrency")]
    pub concurrency: usize,
}

impl Hook {
    const fn default_concurrency() -> usize {
        64
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub ca_certificates_per_subject: usize,
    pub templates: usize,
    pub policies_per_thing_group: usize,
    pub thing_type_delete_delay_seconds: u64,
    pub attempts_kept: u64,
    pub attempts_kept_days: u64,
    pub audit_kept: u64,
    pub audit_kept_days: u64,
    pub min_free_disk_bytes: u64,
    pub cache_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    pub directory: PathBuf,
    pub tasks: usize,
    pub lines_in_flight: usize,
    pub kept_days: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

impl Broker {
    fn rates(&self) -> jitp_broker::Rates {
        jitp_broker::Rates {
            publishes: self.max_publishes_per_second,
            publishes_of_certificate: self.max_publishes_per_second_of_certificate,
            excess: match self.publish_excess {
                Excess::Delay => jitp_broker::Excess::Delay,
                Excess::Drop => jitp_broker::Excess::Drop,
                Excess::Disconnect => jitp_broker::Excess::Disconnect,
            },
            deliveries: self.max_deliveries_per_second,
            bytes: self.max_bytes_per_second,
            bytes_of_certificate: self.max_bytes_per_second_of_certificate,
            subscribes: self.max_subscribes_per_second,
            connects: self.max_connects_per_second,
            connects_of_client: self.max_connects_per_second_of_client,
            retained_of_topic: self.max_retained_per_second_of_topic,
            as_aws: self.aws_rates,
        }
    }
}

impl Config {
    /// The defaults, with a file over them if one is given.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = file else { return Self::parse("", "the built-in defaults") };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        Self::parse(&text, &path.display().to_string())
    }

    pub(crate) fn parse(text: &str, origin: &str) -> anyhow::Result<Self> {
        let mut merged: toml::Table = DEFAULT.parse().context("the built-in defaults do not parse")?;
        let given: toml::Table = text.parse().with_context(|| format!("{origin} is not TOML"))?;
        merge(&mut merged, given, "").with_context(|| format!("in {origin}"))?;
        let config: Self = merged.try_into().with_context(|| format!("in {origin}"))?;
        config.check().with_context(|| format!("in {origin}"))?;
        Ok(config)
    }

    /// The rules that types alone do not carry.
    pub fn check(&self) -> anyhow::Result<()> {
        let Server { account, region, .. } = &self.server;
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            bail!("server.account is {account:?}: it must be 12 digits, for example 000000000000");
        }
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if region.is_empty() || region.len() > 32 || !region.bytes().all(legal) {
            bail!("server.region is {region:?}: it must be 1 to 32 of a-z, 0-9 and -, for example us-east-1");
        }
        if self.broker.min_keep_alive_seconds > self.broker.max_keep_alive_seconds {
            bail!("broker.min_keep_alive_seconds is above broker.max_keep_alive_seconds");
        }
        if self.broker.receive_maximum == 0 {
            bail!("broker.receive_maximum is 0: it must be at least 1");
        }
        for (key, seconds) in [
            ("handshake_deadline_seconds", self.broker.handshake_deadline_seconds),
            ("connect_deadline_seconds", self.broker.connect_deadline_seconds),
            ("packet_deadline_seconds", self.broker.packet_deadline_seconds),
            ("write_deadline_seconds", self.broker.write_deadline_seconds),
            ("max_message_expiry_seconds", self.broker.max_message_expiry_seconds),
        ] {
            // Deadlines are added to the time of day of a clock that does not go on for ever.
            if !(1..=MAX_SECONDS).contains(&seconds) {
                bail!("broker.{key} is {seconds}: it must be 1 to {MAX_SECONDS}");
            }
        }
        for (key, bytes) in [
            ("max_bytes_per_second", self.broker.max_bytes_per_second),
            ("max_bytes_per_second_of_certificate", self.broker.max_bytes_per_second_of_certificate),
        ] {
            // Below that the pauses would outlast every keep alive.
            if (1..1024).contains(&bytes) {
                bail!("broker.{key} is {bytes}: it must be 0, for no limit, or at least 1024");
            }
        }
        if self.broker.max_packet_bytes < 1024 {
            bail!("broker.max_packet_bytes is below 1024");
        }
        listeners::check(self)?;
        self.issuing.check()?;
        for (name, hook) in &self.hooks {
            if hook.concurrency == 0 {
                bail!("hooks.{name}.concurrency is 0: it must be at least 1");
            }
        }
        let h = &self.https;
        for (key, value, least) in [
            ("max_header_bytes", h.max_header_bytes, 8192),
            ("header_deadline_seconds", usize::from(h.header_deadline_seconds > 0), 1),
            ("body_deadline_seconds", usize::from(h.body_deadline_seconds > 0), 1),
        ] {
            if value < least {
                bail!("https.{key} is too small: it must be at least {least}");
            }
        }
        let a = &self.api;
        for (key, value, least) in [
            ("max_connections", a.max_connections, 1),
            ("max_in_flight_per_key", a.max_in_flight_per_key, 1),
            ("max_body_bytes", a.max_body_bytes, 1024),
            ("max_header_bytes", a.max_header_bytes, 8192),
            ("handshake_deadline_seconds", usize::from(a.handshake_deadline_seconds > 0), 1),
            ("header_deadline_seconds", usize::from(a.header_deadline_seconds > 0), 1),
            ("body_deadline_seconds", usize::from(a.body_deadline_seconds > 0), 1),
        ] {
            if value < least {
                bail!("api.{key} is too small: it must be at least {least}");
            }
        }
        self.api_rates()?;
        let Bulk { tasks, lines_in_flight, .. } = self.bulk;
        for (key, value, most) in [("tasks", tasks, 100), ("lines_in_flight", lines_in_flight, 512)] {
            if !(1..=most).contains(&value) {
                bail!("bulk.{key} is {value}: it must be 1 to {most}");
            }
        }
        if !a.listen.ip().is_loopback() && !a.tls && !a.insecure {
            bail!(
                "the API would listen on {} without TLS, so that anybody on the way could read and change what \
                 operators do: serve HTTPS with --api-tls, listen on a loopback address, or, where something else \
                 encrypts the way, allow it with --insecure-api",
                a.listen
            );
        }
        Ok(())
    }

    pub fn broker(&self) -> jitp_broker::Config {
        let b = &self.broker;
        jitp_broker::Config {
            listeners: listeners::all(self),
            profile: match b.compat {
                Profile::Standard => jitp_broker::Profile::Standard,
                Profile::Aws => jitp_broker::Profile::Aws,
            },
            limits: jitp_broker::Limits {
                connections: b.max_connections,
                handshakes: b.max_handshakes,
                waiting_handshakes: b.max_waiting_handshakes,
                handshake_deadline: Duration::from_secs(b.handshake_deadline_seconds),
                connect_deadline: Duration::from_secs(b.connect_deadline_seconds),
                packet_deadline: Duration::from_secs(b.packet_deadline_seconds),
                write_deadline: Duration::from_secs(b.write_deadline_seconds),
                packet_bytes: b.max_packet_bytes,
                payload_bytes: b.max_payload_bytes,
                content_type_bytes: b.max_content_type_bytes,
                property_bytes: b.max_property_bytes,
                message_expiry: Duration::from_secs(b.max_message_expiry_seconds),
                topic_bytes: b.max_topic_bytes,
                topic_levels: b.max_topic_levels,
                filters_per_subscribe: b.max_filters_per_subscribe,
                subscriptions_per_session: b.max_subscriptions_per_session,
                receive_maximum: b.receive_maximum,
                topic_aliases: b.topic_aliases,
                queued_messages: b.max_queued_messages,
                queued_bytes: b.max_queued_bytes,
                drop_oldest: b.queue_full_drops == Dropped::Oldest,
                publisher_patience: Duration::from_secs(b.publisher_patience_seconds),
                stored_messages: b.max_stored_messages,
                stored_bytes: b.max_stored_bytes,
                session_expiry: Duration::from_secs(b.session_expiry_seconds),
                keep_alive: (b.min_keep_alive_seconds, b.max_keep_alive_seconds),
                retained_messages: b.max_retained_messages,
                queued_requests: b.max_queued_requests,
                rates: b.rates(),
            },
            disconnect_at_expiry: b.disconnect_at_expiry,
            recheck_connect: b.recheck_connect,
            http: listeners::any_https(self)
                .then(|| Arc::new(HttpOverTls(self.device_limits())) as Arc<dyn jitp_broker::DeviceHttp>),
        }
    }

    fn device_limits(&self) -> jitp_api::DeviceLimits {
        jitp_api::DeviceLimits {
            payload_bytes: usize::try_from(self.broker.max_payload_bytes).unwrap_or(usize::MAX),
            header_bytes: self.https.max_header_bytes,
            header_deadline: Duration::from_secs(self.https.header_deadline_seconds),
            body_deadline: Duration::from_secs(self.https.body_deadline_seconds),
        }
    }

    pub fn api_limits(&self) -> jitp_api::Limits {
        let a = &self.api;
        jitp_api::Limits {
            connections: a.max_connections,
            in_flight_per_key: a.max_in_flight_per_key,
            body_bytes: a.max_body_bytes,
            header_bytes: a.max_header_bytes,
            handshake_deadline: Duration::from_secs(a.handshake_deadline_seconds),
            header_deadline: Duration::from_secs(a.header_deadline_seconds),
            body_deadline: Duration::from_secs(a.body_deadline_seconds),
        }
    }

    /// AWS's rates if they are wanted, and over them what is said of single operations.
    pub fn api_rates(&self) -> anyhow::Result<jitp_api::Rates> {
        let mut rates = match self.api.quotas {
            Quotas::None => jitp_api::Rates::default(),
            Quotas::Aws => jitp_api::Rates::of_aws(),
        };
        for (operation, rate) in &self.api.rates {
            if rates.set(operation, *rate).is_err() {
                let known = jitp_api::operations().map(|known| known.operation);
                let meant = did_you_mean(operation, known, ":");
                bail!("api.rates: there is no operation {operation:?}{meant} docs/api.md lists them");
            }
        }
        Ok(rates)
    }

    /// Reads the files of the issuing CA if there are some.
    pub fn provisioner(&self) -> anyhow::Result<jitp_provisioner::Options> {
        let (p, r, b) = (&self.provisioning, &self.registry, &self.bulk);
        Ok(jitp_provisioner::Options {
            account: self.server.account.clone(),
            region: self.server.region.clone(),
            runs_per_certificate_per_second: p.runs_per_certificate_per_second,
            runs_per_ca_per_second: p.runs_per_ca_per_second,
            run_deadline: Duration::from_secs(p.run_deadline_seconds),
            ca_certificates_per_subject: r.ca_certificates_per_subject,
            templates: r.templates,
            policies_per_group: match self.broker.compat {
                Profile::Standard => r.policies_per_thing_group,
                Profile::Aws => r.policies_per_thing_group.min(AWS_POLICIES_PER_GROUP),
            },
            attempts_kept: r.attempts_kept,
            attempts_kept_for: Duration::from_secs(r.attempts_kept_days.saturating_mul(24 * 3600)),
            audit_kept: r.audit_kept,
            audit_kept_for: Duration::from_secs(r.audit_kept_days.saturating_mul(24 * 3600)),
            registration_directory: (!b.directory.as_os_str().is_empty()).then(|| b.directory.clone()),
            registration_tasks: b.tasks,
            registration_lines_in_flight: b.lines_in_flight,
            registration_tasks_kept_for: Duration::from_secs(b.kept_days.saturating_mul(24 * 3600)),
            thing_type_delete_delay: Duration::from_secs(r.thing_type_delete_delay_seconds),
            min_free_disk: r.min_free_disk_bytes,
            cache_bytes: r.cache_bytes,
            override_default_fail: p.override_default == OverrideDefault::Fail,
            functions_in_fleet_only: p.functions_in_fleet_only,
            thing_vars_require_attachment: p.thing_vars_require_attachment,
            jitp_serial_fallback: p.jitp_serial_fallback,
            require_sni: self.broker.require_sni,
            issuing: self.issuing.options()?,
            fleet_rates: jitp_provisioner::fleet::FleetRates {
                create_keys_and_certificate: p.fleet_create_keys_per_second,
                create_certificate_from_csr: p.fleet_create_from_csr_per_second,
                register_thing: p.fleet_register_thing_per_second,
            },
            callbacks: hooks::open(&self.hooks)?,
        })
    }
}

/// One address, or none.
fn addresses<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Vec<SocketAddr>, D::Error> {
    let text = String::deserialize(value)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.parse().map(|address| vec![address]).map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is no address: expected one like \"0.0.0.0:8443\", or \"\""
        ))
    })
}

/// Lays `given` over `known`; every key that `known` lacks is an error that names the nearest one.
fn merge(known: &mut toml::Table, given: toml::Table, path: &str) -> anyhow::Result<()> {
    // Sections whose keys are names: the operator's, or those of operations.
    if matches!(path, "hooks" | "api.rates") {
        known.extend(given);
        return Ok(());
    }
    for (key, value) in given {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if !known.contains_key(&key) {
            let meant = did_you_mean(&key, known.keys().map(String::as_str), ":");
            bail!("unknown key {full:?}{meant} `jitp config` prints every key");
        }
        match (known.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(given)) => merge(below, given, &full)?,
            (Some(toml::Value::Table(_)), other) => {
                bail!("{full:?} is a section, but the file gives it the value {other}")
            }
            (Some(slot), value) => *slot = value,
            (None, _) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_gives_the_defaults_that_the_libraries_document() {
        let config = Config::load(None).unwrap();
        assert_eq!(
            format!("{:?}", config.provisioner().unwrap()),
            format!("{:?}", jitp_provisioner::Options::default())
        );
        assert_eq!(format!("{:?}", config.broker().limits), format!("{:?}", jitp_broker::Limits::default()));
        assert_eq!(config.api_limits(), jitp_api::Limits::default());
        assert_eq!(config.api_rates().unwrap(), jitp_api::Rates::default());
    }

    #[test]
    fn a_file_needs_only_what_differs() {
        let config = Config::parse("[broker]\ncompat = \"aws\"", "test").unwrap();
        assert_eq!(config.broker.compat, Profile::Aws);
        assert_eq!(config.broker().limits_in_force().topic_levels, 8);
        assert_eq!(config.provisioner().unwrap().policies_per_group, 2);
        assert_eq!(config.api.listen.port(), 8080);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = Config::parse("[broker]\nmax_conections = 5", "site.toml").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("site.toml") && text.contains("did you mean \"max_connections\""), "{text}");
    }

    #[test]
    fn values_out_of_range_say_what_is_expected() {
        for (file, expected) in [
            ("[server]\naccount = \"12\"", "12 digits"),
            ("[server]\nregion = \"US East\"", "a-z"),
            ("[broker]\nlisten = 8883", "in test"),
            ("[broker]\nlisten = \"tcp\"", "is no address"),
            (
                "[[broker.listeners]]\naddress = \"0.0.0.0:1883\"\nkind = \"mqtt\"",
                "without TLS is not offered",
            ),
            ("[[broker.listeners]]\naddress = \"0.0.0.0:443\"\nkind = \"wss\"", "\"https\""),
            ("[[broker.listeners]]\naddress = \"0.0.0.0:443\"\nkind = \"quic\"", "\"mqtts\" or \"https\""),
            ("[[broker.listeners]]\naddress = \"localhost\"", "in test"),
            ("[[broker.listeners]]\nadress = \"[::]:8883\"", "`address`"),
            (
                "[[broker.listeners]]\naddress = \"[::]:1\"\nproxy_protocol = true\ntrusted_proxies = [\"lb\"]",
                "10.0.0.0/8",
            ),
            (
                "[[broker.listeners]]\naddress = \"[::]:1\"\ntrusted_proxies = [\"10.0.0.0/8\"]",
                "broker.listeners[0]",
            ),
            ("[broker]\nreceive_maximum = 0", "at least 1"),
            ("[broker]\npacket_deadline_seconds = 0", "broker.packet_deadline_seconds is 0: it must be 1 to"),
            ("[broker]\nwrite_deadline_seconds = 9999999999", "broker.write_deadline_seconds"),
            ("broker = 3", "is a section"),
            ("[broker]\nmax_bytes_per_second = 9", "0, for no limit, or at least 1024"),
            ("[broker]\npublish_excess = \"wait\"", "unknown variant"),
            ("[api]\nmax_in_flight_per_key = 0", "at least 1"),
            ("[api.rates]\nCreateThng = 5", "did you mean \"CreateThing\""),
            ("[api.rates]\nCreateThing = -5", "in test"),
            ("[api]\nquotas = \"gcp\"", "in test"),
            ("[api]\nlisten = \"0.0.0.0:8080\"", "--api-tls"),
            ("[api]\nlisten = \"[::]:8080\"", "--insecure-api"),
        ] {
            let text = format!("{:#}", Config::parse(file, "test").unwrap_err());
            assert!(text.contains(expected), "{file}: {text}");
        }
    }

    #[test]
    fn rates_of_operations_are_those_of_aws_with_what_is_said_of_single_ones() {
        let file = "[api]\nquotas = \"aws\"\n[api.rates]\nCreateThing = 7\nListAttempts = 2\nListThings = 0";
        let mut expected = jitp_api::Rates::of_aws();
        for (operation, rate) in [("CreateThing", 7), ("ListAttempts", 2), ("ListThings", 0)] {
            expected.set(operation, rate).unwrap();
        }
        assert_eq!(Config::parse(file, "test").unwrap().api_rates().unwrap(), expected);
    }

    /// The manual's table of limits names every key of `[broker]` that has a number, with its default.
    #[test]
    fn the_documentation_states_the_limits_of_the_broker_and_their_defaults() {
        let documentation = include_str!("../../docs/configuration.md");
        let defaults: toml::Table = DEFAULT.parse().unwrap();
        let stated: Vec<String> = defaults["broker"]
            .as_table()
            .unwrap()
            .iter()
            .filter_map(|(key, value)| Some(format!("| `{key}` | {} |", value.as_integer()?)))
            .collect();
        let missing: Vec<_> = stated.iter().filter(|row| !documentation.contains(row.as_str())).collect();
        assert!(stated.len() > 20 && missing.is_empty(), "docs/configuration.md lacks {missing:?}");
    }

    #[test]
    fn the_api_listens_elsewhere_than_on_loopback_only_with_tls_or_when_told_that_it_is_insecure() {
        for more in ["tls = true", "insecure = true"] {
            assert!(Config::parse(&format!("[api]\nlisten = \"0.0.0.0:8080\"\n{more}"), "test").is_ok());
        }
        assert!(Config::parse("[api]\nlisten = \"[::1]:8080\"", "test").is_ok());
    }
}

//! Where devices connect: the simple keys `broker.listen` and `https.listen`, and the list `[[broker.listeners]]`.
use crate::config::Config;
use anyhow::bail;
use jitp_broker::{Protocol, Proxies};
use jitp_policies::IpRange;
use serde::{Deserialize, Deserializer, de::Error};
use std::net::SocketAddr;

/// A further listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub address: SocketAddr,
    #[serde(default = "mqtts", deserialize_with = "kind")]
    pub kind: Protocol,
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Empty: any.
    #[serde(default, deserialize_with = "ranges")]
    pub trusted_proxies: Vec<IpRange>,
}

/// Load balancers are trusted only where they are expected.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let broker = &config.broker;
    for (number, listener) in broker.listeners.iter().enumerate() {
        if !listener.trusted_proxies.is_empty() && !listener.proxy_protocol {
            bail!(
                "broker.listeners[{number}] has trusted_proxies, which mean nothing without proxy_protocol = true"
            );
        }
    }
    Ok(())
}

/// Devices must be able to connect. To be asked when the command line has been looked at, too.
pub fn check_reachable(config: &Config) -> anyhow::Result<()> {
    let broker = &config.broker;
    if broker.listen.is_empty() && !broker.listeners.iter().any(|listener| listener.kind == Protocol::Mqtts) {
        bail!(
            "devices could connect nowhere with MQTT: broker.listen is empty, no [[broker.listeners]] is of the kind \
             \"mqtts\", and there is no --mqtt"
        );
    }
    Ok(())
}

/// All listeners, in the order of the ready line.
pub fn all(config: &Config) -> Vec<jitp_broker::Listener> {
    let simple = |addresses: &[SocketAddr], protocol, name: &str| {
        let listener = |address: &SocketAddr| jitp_broker::Listener {
            address: *address,
            protocol,
            proxies: None,
            name: name.to_owned(),
        };
        addresses.iter().map(listener).collect::<Vec<_>>()
    };
    let listed = config.broker.listeners.iter().enumerate().map(|(number, listener)| jitp_broker::Listener {
        address: listener.address,
        protocol: listener.kind,
        proxies: listener.proxy_protocol.then(|| Proxies { trusted: listener.trusted_proxies.clone() }),
        name: format!("broker.listeners[{number}]"),
    });
    let mut all = simple(&config.broker.listen, Protocol::Mqtts, "--mqtt, broker.listen");
    all.extend(simple(&config.https.listen, Protocol::Https, "--https, https.listen"));
    all.extend(listed);
    all
}

/// Does any of them speak HTTPS?
pub fn any_https(config: &Config) -> bool {
    !config.https.listen.is_empty()
        || config.broker.listeners.iter().any(|listener| listener.kind == Protocol::Https)
}

const fn mqtts() -> Protocol {
    Protocol::Mqtts
}

fn kind<'de, D: Deserializer<'de>>(value: D) -> Result<Protocol, D::Error> {
    let text = String::deserialize(value)?;
    match text.as_str() {
        "mqtts" => Ok(Protocol::Mqtts),
        "https" => Ok(Protocol::Https),
        "mqtt" | "tcp" | "ws" | "http" => Err(D::Error::custom(format!(
            "{text:?}: MQTT without TLS is not offered, because a device is known by its certificate: expected \"mqtts\" or \
             \"https\""
        ))),
        "wss" => Err(D::Error::custom(
            "\"wss\": MQTT over WebSocket is served at /mqtt of listeners of the kind \"https\": write that",
        )),
        _ => {
            Err(D::Error::custom(format!("{text:?} is no kind of listener: expected \"mqtts\" or \"https\"")))
        }
    }
}

fn ranges<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<IpRange>, D::Error> {
    let range = |text: &String| {
        IpRange::parse(text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is neither an address nor a network: expected one like \"10.0.0.7\" or \"10.0.0.0/8\""
            ))
        })
    };
    Vec::<String>::deserialize(value)?.iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(file: &str) -> Vec<String> {
        let config = Config::parse(file, "test").unwrap();
        let text = |listener: &jitp_broker::Listener| {
            let proxied = if listener.proxies.is_some() { " proxied" } else { "" };
            format!("{}={} ({}){proxied}", listener.protocol, listener.address, listener.name)
        };
        all(&config).iter().map(text).collect()
    }

    #[test]
    fn listeners_come_in_the_order_of_the_file_behind_the_simple_ones() {
        assert_eq!(listeners(""), ["mqtts=127.0.0.1:8883 (--mqtt, broker.listen)"]);
        let file = "[https]\nlisten = \"[::1]:8443\"
            [[broker.listeners]]\naddress = \"0.0.0.0:443\"\nkind = \"https\"
            [[broker.listeners]]\naddress = \"[::]:8884\"\nproxy_protocol = true\ntrusted_proxies = [\"::1\", \"10.0.0.0/8\"]";
        let expected = [
            "mqtts=127.0.0.1:8883 (--mqtt, broker.listen)",
            "https=[::1]:8443 (--https, https.listen)",
            "https=0.0.0.0:443 (broker.listeners[0])",
            "mqtts=[::]:8884 (broker.listeners[1]) proxied",
        ];
        assert_eq!(listeners(file), expected);
    }

    #[test]
    fn the_simple_listener_may_be_left_out_where_another_speaks_mqtt() {
        let file = "[broker]\nlisten = \"\"\n[[broker.listeners]]\naddress = \"0.0.0.0:8883\"";
        assert_eq!(listeners(file), ["mqtts=0.0.0.0:8883 (broker.listeners[0])"]);
        let nowhere = Config::parse("[broker]\nlisten = \"\"", "test").unwrap();
        let refused = check_reachable(&nowhere).unwrap_err().to_string();
        assert!(refused.contains("nowhere") && refused.contains("--mqtt"), "{refused}");
    }

    #[test]
    fn the_documentation_shows_files_that_are_taken() {
        let page = include_str!("../../docs/listeners.md");
        let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next());
        let taken: Vec<_> = blocks.map(listeners).collect();
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[0].last().unwrap(), "https=[::]:443 (broker.listeners[1])");
        assert_eq!(taken[1].first().unwrap(), "mqtts=10.0.0.11:8884 (broker.listeners[0]) proxied");
    }

    #[test]
    fn http_is_spoken_with_devices_where_any_listener_does() {
        let http = |file| Config::parse(file, "test").unwrap().broker().http.is_some();
        assert!(!http(""));
        assert!(http("[https]\nlisten = \"127.0.0.1:0\""));
        assert!(http("[[broker.listeners]]\naddress = \"127.0.0.1:0\"\nkind = \"https\""));
    }
}

//! How often something may happen (`spec/mqtt-behaviour.md` section 2, `spec/quotas.md` section 5). All of it is off unless
//! configured, and costs nothing then.
//!
//! A connection keeps its own buckets, so that on the way of a message no lock is shared; what the connections of one
//! certificate share is atomic. Time is an argument.
mod bucket;
mod connection;
mod keyed;
mod principals;

pub(crate) use bucket::{Bucket, Nanos, Rate};
pub(crate) use connection::{ConnectionRates, Verdict};
pub(crate) use keyed::KeyedRates;
pub(crate) use principals::PrincipalBuckets;

use crate::config::Rates;
use bucket::SharedBucket;
use jitp_provisioner::names::CertificateId;
use metrics::{counter, describe_counter};
use principals::Principals;
use tokio::time::Instant;

/// What all connections of a broker ask.
pub(crate) struct RateLimits {
    rates: Rates,
    since: Instant,
    principals: Principals,
    connects: Option<(Rate, SharedBucket)>,
    connects_of_client: Option<KeyedRates>,
}

/// A configured rate, as metrics and logs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Publishes,
    PublishesOfCertificate,
    Deliveries,
    Bytes,
    BytesOfCertificate,
    Subscribes,
    Connects,
    ConnectsOfClient,
    RetainedOfTopic,
}

/// What was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Dropped,
    /// Reading, or sending, paused.
    Delayed,
    Refused,
    Disconnected,
}

impl RateLimits {
    /// Nothing has happened yet.
    pub(crate) fn new(rates: Rates) -> Self {
        describe_counter!(NAME, "What exceeded a configured rate, by limit and by what was done about it.");
        Self {
            since: Instant::now(),
            principals: Principals::default(),
            connects: Rate::new(rates.connects).map(|rate| (rate, SharedBucket::default())),
            connects_of_client: Rate::new(rates.connects_of_client).map(KeyedRates::new),
            rates,
        }
    }

    /// The time for all buckets of this broker.
    pub(crate) fn now(&self) -> Nanos {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }

    /// Those of a new connection; `None`: there are none.
    pub(crate) fn of_connection(&self, certificate: CertificateId) -> Option<Box<ConnectionRates>> {
        ConnectionRates::new(&self.rates, || self.principals.of(certificate))
    }

    /// A CONNECT has come, of whomever: may it be looked at?
    pub(crate) fn connect(&self) -> Result<(), Limit> {
        let allowed = self.connects.as_ref().is_none_or(|(rate, bucket)| bucket.take(*rate, 1, self.now()));
        if allowed { Ok(()) } else { Err(Limit::Connects) }
    }

    /// A client that may connect under this client id does. Asked last: otherwise anybody could use up another's rate.
    pub(crate) fn connect_of(&self, client_id: &str) -> Result<(), Limit> {
        let allowed = self.connects_of_client.as_ref().is_none_or(|rates| rates.take(client_id, self.now()));
        if allowed { Ok(()) } else { Err(Limit::ConnectsOfClient) }
    }
}

const NAME: &str = "jitp_rate_limited_total";

impl Limit {
    /// Counts. Looks the counter up: what is too fast is not what has to be fast.
    pub(crate) fn count(self, action: Action, times: u64) {
        counter!(NAME, "limit" => self.name(), "action" => action.name()).increment(times);
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Publishes => "publishes",
            Self::PublishesOfCertificate => "publishes_of_certificate",
            Self::Deliveries => "deliveries",
            Self::Bytes => "bytes",
            Self::BytesOfCertificate => "bytes_of_certificate",
            Self::Subscribes => "subscribes",
            Self::Connects => "connects",
            Self::ConnectsOfClient => "connects_of_client",
            Self::RetainedOfTopic => "retained_of_topic",
        }
    }

    /// The key that an operator can raise.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Publishes => "max_publishes_per_second",
            Self::PublishesOfCertificate => "max_publishes_per_second_of_certificate",
            Self::Deliveries => "max_deliveries_per_second",
            Self::Bytes => "max_bytes_per_second",
            Self::BytesOfCertificate => "max_bytes_per_second_of_certificate",
            Self::Subscribes => "max_subscribes_per_second",
            Self::Connects => "max_connects_per_second",
            Self::ConnectsOfClient => "max_connects_per_second_of_client",
            Self::RetainedOfTopic => "max_retained_per_second_of_topic",
        }
    }
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Delayed => "delayed",
            Self::Refused => "refused",
            Self::Disconnected => "disconnected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connects_are_limited_in_all_and_by_client_id() {
        let limits = RateLimits::new(Rates { connects: 2, connects_of_client: 1, ..Rates::default() });
        assert_eq!(
            [limits.connect(), limits.connect(), limits.connect()],
            [Ok(()), Ok(()), Err(Limit::Connects)]
        );
        assert_eq!([limits.connect_of("a"), limits.connect_of("b")], [Ok(()), Ok(())]);
        assert_eq!(limits.connect_of("a"), Err(Limit::ConnectsOfClient));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert_eq!((limits.connect(), limits.connect_of("a")), (Ok(()), Ok(())));
    }

    #[test]
    fn without_configured_rates_everybody_may() {
        let limits = RateLimits::new(Rates::default());
        assert!((0..1000).all(|_| limits.connect().is_ok() && limits.connect_of("a").is_ok()));
        assert!(limits.of_connection(CertificateId::from_bytes([0; 32])).is_none());
    }
}

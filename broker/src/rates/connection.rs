//! How fast one connection may be: its own buckets, and those that it shares with the others of its certificate. Decides;
//! what follows is the connection's matter.
use super::bucket::{Bucket, Nanos, Rate, SharedBucket};
use super::{Limit, PrincipalBuckets};
use crate::config::{Excess, Rates};
use crate::message::QoS;
use std::sync::Arc;

/// The rates of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionRates {
    publishes: Own,
    deliveries: Own,
    bytes: Own,
    subscribes: Own,
    /// Of its certificate.
    shared: Option<Shared>,
    excess: Excess,
    /// Limits whose excess was logged already: one bit each.
    told: u16,
}

/// What becomes of a PUBLISH of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Publish,
    /// Forget it, and say nothing.
    Drop(Limit),
    /// End the connection.
    End(Limit),
}

/// A bucket if there is a rate.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    rate: Option<Rate>,
    bucket: Bucket,
}

#[derive(Debug)]
struct Shared {
    publishes: Option<Rate>,
    bytes: Option<Rate>,
    buckets: Arc<PrincipalBuckets>,
}

impl ConnectionRates {
    /// `None` if none of the rates concerns a connection. `principal` is asked only for rates of its certificate.
    pub(crate) fn new(rates: &Rates, principal: impl FnOnce() -> Arc<PrincipalBuckets>) -> Option<Box<Self>> {
        let (publishes, bytes) =
            (Rate::new(rates.publishes_of_certificate), Rate::new(rates.bytes_of_certificate));
        let is_shared = publishes.is_some() || bytes.is_some();
        let rates = Self {
            publishes: Own::new(rates.publishes),
            deliveries: Own::new(rates.deliveries),
            bytes: Own::new(rates.bytes),
            subscribes: Own::new(rates.subscribes),
            shared: is_shared.then(|| Shared { publishes, bytes, buckets: principal() }),
            excess: rates.excess,
            told: 0,
        };
        let own = [&rates.publishes, &rates.deliveries, &rates.bytes, &rates.subscribes];
        let any = is_shared || own.iter().any(|own| own.rate.is_some());
        any.then(|| Box::new(rates))
    }

    /// A PUBLISH has come. With [`Excess::Delay`] one that asks for an acknowledgement is let pass, and what is too fast
    /// shows in [`ConnectionRates::reading_pause`].
    pub(crate) fn publish(&mut self, qos: QoS, now: Nanos) -> Verdict {
        let limit = if self.excess == Excess::Delay && qos > QoS::AtMostOnce {
            self.publishes.charge(1, now);
            if let Some((rate, bucket)) = self.shared_publishes() {
                bucket.charge(rate, 1, now);
            }
            return Verdict::Publish;
        } else if !self.publishes.has_one(now) {
            Limit::Publishes
        } else if self.shared_publishes().is_some_and(|(rate, bucket)| !bucket.take(rate, 1, now)) {
            Limit::PublishesOfCertificate
        } else {
            self.publishes.charge(1, now);
            return Verdict::Publish;
        };
        match self.excess {
            Excess::Delay | Excess::Drop => Verdict::Drop(limit),
            Excess::Disconnect => Verdict::End(limit),
        }
    }

    /// So many bytes went one way or the other.
    pub(crate) fn moved(&mut self, bytes: usize, now: Nanos) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes.charge(bytes, now);
        if let Some(Shared { bytes: Some(rate), buckets, .. }) = &self.shared {
            buckets.bytes.charge(*rate, bytes, now);
        }
    }

    /// May a delivery be sent? One of QoS 0 that may not is dropped; others always may, and what is too fast shows in
    /// [`ConnectionRates::sending_pause`].
    pub(crate) fn deliver(&mut self, qos: QoS, now: Nanos) -> bool {
        if qos == QoS::AtMostOnce {
            return self.deliveries.take(now);
        }
        self.deliveries.charge(1, now);
        true
    }

    /// Is there a rate of deliveries?
    pub(crate) fn limits_deliveries(&self) -> bool {
        self.deliveries.rate.is_some()
    }

    /// How many deliveries to take out of the queue at once, at least one, at most so many.
    pub(crate) fn deliveries_at_once(&self, most: usize, now: Nanos) -> usize {
        let Some(rate) = self.deliveries.rate else { return most };
        usize::try_from(self.deliveries.bucket.level(rate, now)).unwrap_or(most).clamp(1, most)
    }

    /// May a SUBSCRIBE be served?
    pub(crate) fn subscribe(&mut self, now: Nanos) -> bool {
        self.subscribes.take(now)
    }

    /// How long nothing is to be read from the client, and because of what.
    pub(crate) fn reading_pause(&self, now: Nanos) -> Option<(Nanos, Limit)> {
        let shared_publishes = self.shared_publishes().map_or(0, |(_, bucket)| bucket.debt(now));
        let publishes =
            [(self.publishes.debt(now), Limit::Publishes), (shared_publishes, Limit::PublishesOfCertificate)];
        longest(publishes.into_iter().chain(self.byte_debts(now)))
    }

    /// How long nothing is to be taken out of the session's queue, and because of what.
    pub(crate) fn sending_pause(&self, now: Nanos) -> Option<(Nanos, Limit)> {
        let deliveries = (self.deliveries.debt(now), Limit::Deliveries);
        longest(std::iter::once(deliveries).chain(self.byte_debts(now)))
    }

    /// Is this the first time that a limit is met? It is said once per connection.
    pub(crate) fn is_news(&mut self, limit: Limit) -> bool {
        let bit = 1 << limit as u16;
        let is_news = self.told & bit == 0;
        self.told |= bit;
        is_news
    }

    fn byte_debts(&self, now: Nanos) -> [(Nanos, Limit); 2] {
        let shared = self.shared.as_ref().map_or(0, |shared| shared.buckets.bytes.debt(now));
        [(self.bytes.debt(now), Limit::Bytes), (shared, Limit::BytesOfCertificate)]
    }

    fn shared_publishes(&self) -> Option<(Rate, &SharedBucket)> {
        let shared = self.shared.as_ref()?;
        Some((shared.publishes?, &shared.buckets.publishes))
    }
}

fn longest(debts: impl Iterator<Item = (Nanos, Limit)>) -> Option<(Nanos, Limit)> {
    debts.max_by_key(|(debt, _)| *debt).filter(|(debt, _)| *debt > 0)
}

impl Own {
    fn new(per_second: u32) -> Self {
        Self { rate: Rate::new(per_second), bucket: Bucket::default() }
    }
    fn take(&mut self, now: Nanos) -> bool {
        self.rate.is_none_or(|rate| self.bucket.take(rate, 1, now))
    }
    fn has_one(&self, now: Nanos) -> bool {
        self.rate.is_none_or(|rate| self.bucket.has_one(rate, now))
    }
    fn charge(&mut self, units: u32, now: Nanos) {
        if let Some(rate) = self.rate {
            self.bucket.charge(rate, units, now);
        }
    }
    fn debt(&self, now: Nanos) -> Nanos {
        self.bucket.debt(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn of(rates: Rates) -> Box<ConnectionRates> {
        ConnectionRates::new(&rates, Arc::default).unwrap()
    }

    #[test]
    fn a_connection_without_rates_has_nothing_to_ask() {
        let rates = Rates { connects: 5, retained_of_topic: 1, ..Rates::default() };
        assert!(ConnectionRates::new(&rates, || panic!("there is no rate of certificates")).is_none());
    }

    #[test]
    fn too_many_publishes_are_dropped_at_qos_0_and_delay_reading_above() {
        let mut rates = of(Rates { publishes: 2, ..Rates::default() });
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            assert_eq!(rates.publish(qos, 0), Verdict::Publish);
        }
        assert_eq!(rates.publish(QoS::AtMostOnce, 0), Verdict::Drop(Limit::Publishes));
        assert_eq!(rates.reading_pause(0), None);
        assert_eq!(rates.publish(QoS::ExactlyOnce, 0), Verdict::Publish);
        assert_eq!(rates.reading_pause(0), Some((SECOND / 2, Limit::Publishes)));
        assert_eq!(rates.reading_pause(SECOND / 2), None);
        assert_eq!(rates.sending_pause(0), None);
    }

    #[test]
    fn what_comes_too_fast_can_be_dropped_or_end_the_connection_whatever_its_qos() {
        for (excess, verdict) in [
            (Excess::Drop, Verdict::Drop(Limit::Publishes)),
            (Excess::Disconnect, Verdict::End(Limit::Publishes)),
        ] {
            let mut rates = of(Rates { publishes: 1, excess, ..Rates::default() });
            assert_eq!(rates.publish(QoS::AtLeastOnce, 0), Verdict::Publish);
            assert_eq!(rates.publish(QoS::AtLeastOnce, 0), verdict);
            assert_eq!(rates.reading_pause(0), None);
            assert_eq!(rates.publish(QoS::AtLeastOnce, SECOND), Verdict::Publish);
        }
    }

    #[test]
    fn connections_of_one_certificate_share_its_publishes_and_bytes() {
        let buckets = Arc::<PrincipalBuckets>::default();
        let rates = Rates { publishes_of_certificate: 1, bytes_of_certificate: 1000, ..Rates::default() };
        let [mut one, mut other] =
            [(); 2].map(|()| ConnectionRates::new(&rates, || Arc::clone(&buckets)).unwrap());
        assert_eq!(one.publish(QoS::AtMostOnce, 0), Verdict::Publish);
        assert_eq!(other.publish(QoS::AtMostOnce, 0), Verdict::Drop(Limit::PublishesOfCertificate));
        one.moved(3000, 0);
        for rates in [&one, &other] {
            assert_eq!(rates.reading_pause(0), Some((2 * SECOND, Limit::BytesOfCertificate)));
            assert_eq!(rates.sending_pause(0), Some((2 * SECOND, Limit::BytesOfCertificate)));
        }
    }

    #[test]
    fn deliveries_of_qos_0_are_dropped_and_others_wait() {
        let mut rates = of(Rates { deliveries: 3, ..Rates::default() });
        assert_eq!(rates.deliveries_at_once(256, 0), 3);
        assert_eq!([(); 4].map(|()| rates.deliver(QoS::AtMostOnce, 0)), [true, true, true, false]);
        assert_eq!(rates.deliveries_at_once(256, 0), 1);
        assert_eq!(rates.sending_pause(0), None);
        assert!(rates.deliver(QoS::AtLeastOnce, 0));
        assert_eq!(rates.sending_pause(0).map(|(_, limit)| limit), Some(Limit::Deliveries));
        assert_eq!(rates.reading_pause(0), None);
    }

    #[test]
    fn a_limit_is_news_once() {
        let mut rates = of(Rates { publishes: 1, ..Rates::default() });
        assert!(rates.is_news(Limit::Publishes) && !rates.is_news(Limit::Publishes));
        assert!(rates.is_news(Limit::Bytes));
    }
}

//! What all connections of one certificate share: found once per connection, and then used without a lock.
use super::bucket::SharedBucket;
use hashbrown::HashMap;
use jitp_provisioner::names::CertificateId;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// The buckets of one certificate, for as long as it has a connection.
#[derive(Debug, Default)]
pub(crate) struct PrincipalBuckets {
    pub(crate) publishes: SharedBucket,
    pub(crate) bytes: SharedBucket,
}

/// The buckets of all certificates that have connections.
#[derive(Default)]
pub(crate) struct Principals(Mutex<Table>);

#[derive(Default)]
struct Table {
    buckets: HashMap<CertificateId, Weak<PrincipalBuckets>>,
    /// With this many certificates those without connections are forgotten.
    look_through_at: usize,
}

/// The table is not looked through for fewer certificates than these.
const FEW: usize = 1024;

impl Principals {
    /// Those of a certificate, for a connection of it.
    pub(crate) fn of(&self, certificate: CertificateId) -> Arc<PrincipalBuckets> {
        let mut table = self.0.lock();
        if let Some(buckets) = table.buckets.get(&certificate).and_then(Weak::upgrade) {
            return buckets;
        }
        if table.buckets.len() >= table.look_through_at.max(FEW) {
            table.buckets.retain(|_, buckets| buckets.strong_count() > 0);
            table.look_through_at = 2 * table.buckets.len();
        }
        let buckets = Arc::<PrincipalBuckets>::default();
        table.buckets.insert(certificate, Arc::downgrade(&buckets));
        buckets
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(number: u32) -> CertificateId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        CertificateId::from_bytes(bytes)
    }

    #[test]
    fn connections_of_one_certificate_share_and_others_do_not() {
        let principals = Principals::default();
        let (first, second) = (principals.of(certificate(1)), principals.of(certificate(1)));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &principals.of(certificate(2))));
    }

    #[test]
    fn a_certificate_without_a_connection_is_forgotten() {
        let principals = Principals::default();
        let held = principals.of(certificate(0));
        for number in 1..10_000 {
            principals.of(certificate(number));
        }
        assert!(principals.len() <= FEW, "{}", principals.len());
        assert!(Arc::ptr_eq(&held, &principals.of(certificate(0))));
    }
}

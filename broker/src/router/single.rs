//! Who subscribes to one filter, each for itself.
use super::dense_set::DenseSet;
use super::snapshot_set::SnapshotSet;
use super::subscribers::{Subscriber, Subscription};

/// A message for few is for those whom it finds in an array. Those of very many get it one after the other, while others come and go.
pub(super) enum Single<S> {
    Few(DenseSet<Subscription<S>>),
    Many(Box<SnapshotSet<Subscription<S>>>),
}

/// More are very many …
pub(crate) const MANY: usize = 256;
/// … until no more than so many are left.
const FEW: usize = MANY / 2;

impl<S> Default for Single<S> {
    fn default() -> Self {
        Self::Few(DenseSet::default())
    }
}

impl<S: Subscriber> Single<S> {
    /// Adds a subscription. Returns whether it replaced one.
    pub(super) fn insert(&mut self, subscription: Subscription<S>) -> bool {
        match self {
            Self::Many(many) => many.insert(subscription),
            Self::Few(few) => {
                let replaced = few.insert(subscription).is_some();
                if few.as_slice().len() > MANY {
                    *self = Self::Many(Box::new(SnapshotSet::of(few.as_slice().to_vec())));
                }
                replaced
            }
        }
    }

    /// Removes a subscription. Returns whether there was one.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        match self {
            Self::Few(few) => few.remove(key).is_some(),
            Self::Many(many) => {
                let removed = many.remove(key);
                if many.len() <= FEW {
                    let mut few = DenseSet::default();
                    for subscription in many.iter() {
                        few.insert(subscription.clone());
                    }
                    *self = Self::Few(few);
                }
                removed
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            // It would be few.
            Self::Many(_) => false,
        }
    }

    /// The subscription, if there is one alone.
    pub(super) fn only_one(&self) -> Option<&Subscription<S>> {
        match self {
            Self::Few(few) => match few.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            Self::Many(_) => None,
        }
    }
}

//! The place of a delivery among those that are stored for its session.

/// A place in the store; by default there is none. Six bytes, so that a delivery stays small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sequence([u8; 6]);

/// It may have been sent before a crash.
const REPEATED: u64 = 1 << 47;
/// It goes through the queue. Others are retained messages that were sent to a new subscriber: they are stored to be in
/// flight, never to wait.
const QUEUED: u64 = 1 << 46;

impl Sequence {
    /// Before all that go through the queue.
    pub(crate) const FIRST_QUEUED: u64 = QUEUED;
    /// The first place of those that do not.
    pub(crate) const FIRST_ASIDE: u64 = 1;

    pub(crate) fn new(place: u64) -> Self {
        let [_, _, rest @ ..] = place.to_be_bytes();
        Self(rest)
    }
    fn number(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
    /// Is the delivery stored?
    pub(crate) fn is_stored(self) -> bool {
        self != Self::default()
    }
    /// The place, which orders the deliveries of a session.
    pub(crate) fn place(self) -> u64 {
        self.number() & !REPEATED
    }
    /// May it have been sent before?
    pub(crate) fn is_repeated(self) -> bool {
        self.number() & REPEATED != 0
    }
    #[must_use]
    pub(crate) fn repeated(self) -> Self {
        Self::new(self.number() | REPEATED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_and_says_whether_it_is_repeated() {
        let stored = Sequence::new(QUEUED + 0x0012_3456_789a);
        assert_eq!(stored.place(), QUEUED + 0x0012_3456_789a);
        assert!(stored.is_stored() && !stored.is_repeated());
        assert!(stored.repeated().is_repeated());
        assert_eq!(stored.repeated().place(), stored.place());
        assert!(!Sequence::default().is_stored());
    }
}

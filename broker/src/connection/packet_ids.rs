//! Packet identifiers towards one client.
use crate::session::PacketIdSet;

/// 1 to 65,535 in turn, each once at a time. One that was given back is given out again as late as possible: an answer that
/// comes twice is not taken for that of another message.
#[derive(Debug, Default)]
pub(super) struct PacketIds {
    used: PacketIdSet,
    last: u16,
}

impl PacketIds {
    /// One that is free. The window is far smaller than the range, so there is one.
    pub(super) fn allocate(&mut self) -> Option<u16> {
        if self.used.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.used.insert(self.last) {
                return Some(self.last);
            }
        }
    }

    /// Takes this one, which an earlier connection has given out.
    pub(super) fn take(&mut self, packet_id: u16) {
        self.used.insert(packet_id);
        self.last = packet_id;
    }

    /// Gives one back. One that was not given out is ignored.
    pub(super) fn free(&mut self, packet_id: u16) {
        self.used.remove(packet_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_given_out_in_turn_and_none_twice() {
        let mut ids = PacketIds::default();
        ids.take(7);
        assert_eq!((ids.allocate(), ids.allocate()), (Some(8), Some(9)));
        ids.free(8);
        for expected in (10..=u16::MAX).chain(1..=6) {
            assert_eq!(ids.allocate(), Some(expected));
        }
        assert_eq!((ids.allocate(), ids.allocate()), (Some(8), None));
        ids.free(0);
        assert_eq!(ids.allocate(), None);
        ids.free(3);
        assert_eq!(ids.allocate(), Some(3));
    }
}

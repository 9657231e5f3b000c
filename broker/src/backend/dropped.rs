//! Deliveries that are not made, by reason: `jitp_messages_dropped_total`.
use metrics::{Counter, counter, describe_counter};

/// One counter per reason, looked up once.
pub(crate) struct Dropped {
    full: Counter,
    expired: Counter,
    no_member: Counter,
}

const NAME: &str = "jitp_messages_dropped_total";

impl Dropped {
    pub(crate) fn new() -> Self {
        describe_counter!(
            NAME,
            "Messages not delivered to a session: its queue was full, they expired, or nobody was left in the group of a shared subscription"
        );
        Self {
            full: counter!(NAME, "reason" => "queue_full"),
            expired: counter!(NAME, "reason" => "expired"),
            no_member: counter!(NAME, "reason" => "no_group_member"),
        }
    }

    /// A session's queue, or what is stored for all, was at its bounds.
    pub(crate) fn full(&self, messages: u64) {
        if messages > 0 {
            self.full.increment(messages);
        }
    }

    /// So many expired before they could be sent.
    pub(crate) fn expired(&self, messages: u64) {
        if messages > 0 {
            self.expired.increment(messages);
        }
    }

    /// The member of a group that had it ended, and there is no other.
    pub(crate) fn no_member(&self) {
        self.no_member.increment(1);
    }
}

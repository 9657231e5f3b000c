//! A last will as it is stored.
use super::fields::{Reader, Unreadable, Writer};
use super::stored_message::{decode_message, encode_message};
use super::wall::Wall;
use crate::message::Message;
use std::sync::Arc;
use std::time::Duration;

/// A last will that was neither published nor withdrawn.
#[derive(Debug, Clone)]
pub(crate) struct StoredWill {
    pub(crate) client_id: Arc<str>,
    /// When it is to be published, in milliseconds since 1970; `None` while its connection is there.
    pub(crate) due: Option<u64>,
    pub(crate) delay: Duration,
    pub(crate) message_expiry: Option<Duration>,
    /// What tells whom to ask.
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) message: Message,
}

const EXPIRES: u8 = 1;
const AUTHORITY: u8 = 1 << 1;

impl StoredWill {
    pub(crate) fn encode(&self, wall: &Wall) -> Vec<u8> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let message = encode_message(&self.message, wall);
        let mut row = Writer::new(message.len() + self.authority.as_ref().map_or(0, Vec::len) + 64);
        row.byte(flag(self.message_expiry.is_some(), EXPIRES) | flag(self.authority.is_some(), AUTHORITY));
        row.binary(self.client_id.as_bytes());
        row.long(self.due.unwrap_or(u64::MAX));
        row.long(self.delay.as_secs());
        if let Some(expiry) = self.message_expiry {
            row.long(expiry.as_secs());
        }
        if let Some(authority) = &self.authority {
            row.binary(authority);
        }
        row.rest(&message)
    }

    pub(crate) fn decode(row: &[u8], wall: &Wall) -> Result<Self, Unreadable> {
        let mut row = Reader::new(row)?;
        let flags = row.byte()?;
        let client_id = row.shared_text()?;
        let due = Some(row.long()?).filter(|at| *at != u64::MAX);
        let delay = Duration::from_secs(row.long()?);
        let message_expiry = match flags & EXPIRES != 0 {
            true => Some(Duration::from_secs(row.long()?)),
            false => None,
        };
        let authority = match flags & AUTHORITY != 0 {
            true => Some(row.binary()?.to_vec()),
            false => None,
        };
        let message = decode_message(row.rest(), wall)?;
        Ok(Self { client_id, due, delay, message_expiry, authority, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::QoS;
    use jitp_provisioner::SystemClock;
    use proptest::prelude::*;

    fn wall() -> Wall {
        Wall::new(Arc::new(SystemClock))
    }

    #[test]
    fn a_will_is_read_as_it_was_written() {
        let seconds = Duration::from_secs;
        for (due, message_expiry, authority) in
            [(None, None, None), (Some(1_767_225_600_000), Some(seconds(5)), Some(b"who".to_vec()))]
        {
            let message = Message { retain: true, ..Message::new("a/b", "gone", QoS::ExactlyOnce) };
            let (client_id, delay) = ("pump é".into(), seconds(60));
            let will = StoredWill { client_id, due, delay, message_expiry, authority, message };
            let read = StoredWill::decode(&will.encode(&wall()), &wall()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{will:?}"));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stored_is_read_or_refused(row in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = StoredWill::decode(&[&[1], &row[..]].concat(), &wall());
        }
    }
}

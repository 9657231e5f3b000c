//! Which things are connected, as far as this process has seen since it started: for searches
//! (`spec/control-plane.md` section 9). Kept in memory only.
use crate::clock::Timestamp;
use crate::names::ThingName;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Things whose end of connection is remembered; beyond that the oldest are forgotten.
const MOST_GONE: usize = 200_000;

/// The last that was seen of a thing's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct ConnectionState {
    pub connected: bool,
    /// When that came about; 0: never seen.
    pub since: Timestamp,
    /// Why the last connection ended, as in its event.
    pub disconnect_reason: Option<&'static str>,
}

/// Who is connected. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub struct Connectivity(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    things: HashMap<ThingName, (Arc<str>, ConnectionState)>,
    /// Things that went, oldest first; some have come back since.
    gone: VecDeque<(ThingName, Timestamp)>,
}

impl Connectivity {
    /// A connection of this thing has begun; `session` names the connection.
    pub fn connected(&self, thing: &ThingName, session: &Arc<str>, now: Timestamp) {
        let state = ConnectionState { connected: true, since: now, disconnect_reason: None };
        self.0.lock().things.insert(thing.clone(), (Arc::clone(session), state));
    }
    /// That connection has ended. Of no effect when another one of the same thing has begun since.
    pub fn disconnected(&self, thing: &ThingName, session: &str, reason: &'static str, now: Timestamp) {
        let mut seen = self.0.lock();
        let Some((owner, state)) = seen.things.get_mut(thing) else { return };
        if &**owner != session || !state.connected {
            return;
        }
        *state = ConnectionState { connected: false, since: now, disconnect_reason: Some(reason) };
        seen.gone.push_back((thing.clone(), now));
        while seen.gone.len() > MOST_GONE {
            let Some((oldest, since)) = seen.gone.pop_front() else { break };
            if seen.things.get(&oldest).is_some_and(|(_, state)| !state.connected && state.since == since) {
                seen.things.remove(&oldest);
            }
        }
    }
    /// The last that was seen of a thing.
    pub fn of(&self, thing: &ThingName) -> ConnectionState {
        self.0.lock().things.get(thing).map(|(_, state)| *state).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_that_another_has_replaced_changes_nothing() {
        let (connectivity, pump): (_, ThingName) = (Connectivity::default(), "pump".parse().unwrap());
        assert_eq!(connectivity.of(&pump), ConnectionState::default());
        let (first, second): (Arc<str>, Arc<str>) = ("1".into(), "2".into());
        connectivity.connected(&pump, &first, Timestamp(1));
        connectivity.connected(&pump, &second, Timestamp(2));
        connectivity.disconnected(&pump, &first, "DUPLICATE_CLIENTID", Timestamp(3));
        assert!(connectivity.of(&pump).connected);
        connectivity.disconnected(&pump, &second, "CONNECTION_LOST", Timestamp(4));
        let state = connectivity.of(&pump);
        assert_eq!(
            (state.connected, state.since, state.disconnect_reason),
            (false, Timestamp(4), Some("CONNECTION_LOST"))
        );
    }

    #[test]
    fn of_things_that_have_gone_only_the_last_are_remembered_and_of_those_connected_all() {
        let connectivity = Connectivity::default();
        let session: Arc<str> = "1".into();
        let name = |number: usize| format!("t{number}").parse::<ThingName>().unwrap();
        connectivity.connected(&"staying".parse().unwrap(), &session, Timestamp(1));
        for number in 0..MOST_GONE + 10 {
            connectivity.connected(&name(number), &session, Timestamp(2));
            connectivity.disconnected(&name(number), &session, "CLIENT_ERROR", Timestamp(3));
        }
        assert_eq!(connectivity.of(&name(9)), ConnectionState::default());
        assert_eq!(connectivity.of(&name(10)).disconnect_reason, Some("CLIENT_ERROR"));
        assert!(connectivity.of(&"staying".parse().unwrap()).connected);
        assert_eq!(connectivity.0.lock().things.len(), MOST_GONE + 1);
    }
}

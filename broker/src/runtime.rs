//! The runtime that a broker is to run in.
use tokio::runtime::Builder;

/// After so many turns the runtime looks for what has come, however much there is to go on with. Its default, 61, is meant for
/// turns of some microseconds; the cryptography of a handshake takes a fifth of a millisecond, and while many come at once there
/// is always one to go on with. A look costs a microsecond.
const TURNS_BETWEEN_LOOKS: u32 = 8;

/// As many threads as there are processors, with what a broker needs.
pub fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.event_interval(TURNS_BETWEEN_LOOKS).enable_all();
    builder
}

//! Sessions without sockets: more of them than there can be connections, through the seam that a connection uses
//! (`jitp_broker::backend`). In processes of their own, so that their memory is that of the sessions.
mod cost;
mod fleet;
mod leave;

pub use cost::{Arrived, Away, LEAVE, PASS, Steps, run as cost};
pub use leave::run as leave;

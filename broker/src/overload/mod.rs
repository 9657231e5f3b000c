//! When more come than can be served: handshakes are done in the order in which they came, a line that is too long is not
//! joined, and who is connected already is served in between.
mod last;
mod line;
mod refused;
mod turns;
mod turnstile;

pub(crate) use last::go_last;
#[cfg(test)]
pub(crate) use last::go_to_the_end;
pub(crate) use line::Handshakes;
pub(crate) use refused::{Because, RefusedConnections};
pub(crate) use turns::{PART, Turns};
pub(crate) use turnstile::Turnstile;

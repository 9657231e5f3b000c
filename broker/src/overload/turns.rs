//! Doing the same with very many, some of them at a time.
use super::go_last;

/// So many at once.
pub(crate) const PART: usize = 256;

/// Counts them.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    done: usize,
}

impl Turns {
    /// One more is done. After some of them everybody else goes first.
    pub(crate) async fn one_done(&mut self) {
        self.done += 1;
        if self.done >= PART {
            self.done = 0;
            go_last().await;
        }
    }
}

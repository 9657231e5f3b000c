//! What was published last, while not everybody has it yet.
use super::burst::Burst;
use super::fan_out::{FanOut, HandedOut};
use super::local::Local;
use super::waking::Wakers;
use crate::overload::go_last;
use crate::session::Lag;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Others have a turn, or more messages come, before the rest of those that it is for get it.
pub(crate) enum UnderWay {
    /// Nobody has it yet, as others belong to it. Nothing of it has to be stored.
    Burst(Burst),
    /// Some have it already.
    FanOut(FanOut),
    /// All have it. Its publisher has not been told yet whom to wait for, as what it published next was refused.
    Over(Arc<Lag>),
}

impl UnderWay {
    /// Delivers to some more; adds who is to be woken. `Continue`: others are left. `Break`: all have it.
    pub(crate) fn go_on(&mut self, local: &Local, wakers: &mut Wakers) -> ControlFlow<HandedOut> {
        let (ticket, lag) = match self {
            Self::FanOut(fan_out) => return fan_out.go_on(local, wakers),
            Self::Burst(burst) => (0, burst.deliver(local, wakers)),
            Self::Over(lag) => (0, Some(Arc::clone(lag))),
        };
        ControlFlow::Break(HandedOut { ticket, lag, too_many: 0 })
    }

    /// Delivers to all that are left; adds who is to be woken.
    pub(crate) fn finish(mut self, local: &Local, wakers: &mut Wakers) -> HandedOut {
        loop {
            if let ControlFlow::Break(handed_out) = self.go_on(local, wakers) {
                return handed_out;
            }
        }
    }

    /// The same, and wakes them, while everybody else has a turn in between.
    pub(crate) async fn finish_in_turns(mut self, local: Arc<Local>) -> HandedOut {
        let mut wakers = Wakers::default();
        loop {
            let step = self.go_on(&local, &mut wakers);
            local.waking.wake(&mut wakers);
            match step {
                ControlFlow::Continue(()) => go_last().await,
                ControlFlow::Break(handed_out) => return handed_out,
            }
        }
    }
}

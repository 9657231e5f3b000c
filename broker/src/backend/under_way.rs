//! What was published last, while not everybody has it yet.
use super::burst::Burst;
use super::fan_out::FanOut;
use super::local::Local;
use super::waking::Wakers;
use crate::session::Lag;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Others have a turn, or more messages come, before the rest of those that it is for get it.
pub(crate) enum UnderWay {
    /// Nobody has it yet, as others belong to it.
    Burst(Burst),
    /// Some have it already.
    FanOut(FanOut),
}

impl UnderWay {
    /// Delivers to all that are left; adds who is to be woken. Returns whom the publisher should wait for.
    pub(crate) fn finish(self, local: &Local, wakers: &mut Wakers) -> Option<Arc<Lag>> {
        match self {
            Self::Burst(burst) => burst.deliver(local, wakers),
            Self::FanOut(mut fan_out) => loop {
                if let ControlFlow::Break(lag) = fan_out.go_on(local, wakers) {
                    return lag;
                }
            },
        }
    }
}

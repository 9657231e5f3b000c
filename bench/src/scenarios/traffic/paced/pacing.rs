//! The generator at work, on a thread of its own, while the runtime waits for it.
use super::line::Line;
use super::pacer::{Found, Pacer};
use super::turns::Turns;
use crate::priority::go_first;
use crate::scenarios::traffic::members::Member;
use crate::scenarios::traffic::receiving::Watch;
use anyhow::{Context, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot::{Receiver, channel};

/// A thread that writes and reads; it ends with this.
pub struct Pacing {
    over: Arc<AtomicBool>,
    ended: Receiver<anyhow::Result<Outcome>>,
}

/// What it has found.
pub struct Outcome {
    pub found: Found,
    /// It went before other threads.
    pub first: bool,
}

impl Pacing {
    /// It begins. The members' publishers take turns in their order.
    pub fn begin(members: Vec<Member>, turns: Turns, watch: Watch) -> anyhow::Result<Self> {
        let lines = members.into_iter().map(|member| Line::new(member, watch));
        let lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
        let over = Arc::new(AtomicBool::new(false));
        let (sender, ended) = channel();
        let work = {
            let over = over.clone();
            move || {
                let first = go_first();
                let found = Pacer::new(lines, turns.all(), watch, &over).and_then(Pacer::run);
                // Nobody waits for it any more when the measurement has failed.
                let _ = sender.send(found.map(|found| Outcome { found, first }));
            }
        };
        std::thread::Builder::new().name("pacer".to_owned()).spawn(work)?;
        Ok(Self { over, ended })
    }

    /// Waits for a measurement, during which nobody may leave.
    pub async fn during<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let ended = tokio::select! {
            done = work => return done,
            ended = &mut self.ended => ended,
        };
        match ended.context("the generator has failed")? {
            Ok(_) => bail!("a connection has ended too early"),
            Err(error) => Err(error.context("a connection has ended too early")),
        }
    }

    /// Everybody disconnects.
    pub async fn end(mut self) -> anyhow::Result<Outcome> {
        self.over.store(true, Ordering::Relaxed);
        (&mut self.ended).await.context("the generator has failed")?
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

//! Lets only as many tasks have work that they can go on with in the run queue as there are processors, in order, however many
//! there are. Others get their turn in between.
use std::pin::{Pin, pin};
use std::task::Poll;
use std::{future::poll_fn, num::NonZeroUsize};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Slots, each taken from when work can go on until it has done so: a poll.
pub(crate) struct Turnstile {
    slots: Semaphore,
}

/// The wait for a slot. Boxed: mostly there is one at once.
type Waiting<'a> = Pin<Box<dyn Future<Output = Result<SemaphorePermit<'a>, AcquireError>> + Send + 'a>>;

impl Turnstile {
    /// As many as the machine has processors.
    pub(crate) fn new() -> Self {
        Self::with(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn with(slots: usize) -> Self {
        Self { slots: Semaphore::new(slots) }
    }

    /// Does some work whenever there is a slot. While the work waits for something it holds none.
    ///
    /// Whoever has got a slot goes to the end of the run queue with it. If it went on at once a slot would only be held while a
    /// processor does the work, and there would always be one: all work that can go on would be in the run queue, and none in line
    /// here. And whoever is called by the one before would go on before everybody else, as the runtime does with what a task wakes.
    pub(crate) async fn pass<W: Future>(&self, work: W) -> W::Output {
        let mut work = pin!(work);
        let mut stage = Stage::Out;
        poll_fn(|context| {
            let mut wait: Waiting<'_> = match std::mem::replace(&mut stage, Stage::Out) {
                Stage::Called(slot) => {
                    let done = work.as_mut().poll(context);
                    drop(slot);
                    return done;
                }
                Stage::InLine(wait) => wait,
                Stage::Out => match self.slots.try_acquire() {
                    Ok(slot) => {
                        stage = Stage::Called(Ok(slot));
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(_) => Box::pin(self.slots.acquire()),
                },
            };
            stage = match wait.as_mut().poll(context) {
                Poll::Ready(slot) => {
                    context.waker().wake_by_ref();
                    Stage::Called(slot)
                }
                Poll::Pending => Stage::InLine(wait),
            };
            Poll::Pending
        })
        .await
    }
}

/// Where work is that passes.
enum Stage<'a> {
    /// It waits for something.
    Out,
    /// It could go on, and waits for a slot.
    InLine(Waiting<'a>),
    /// It has a slot, and is in the run queue. The slots are never closed, so there is no error.
    Called(Result<SemaphorePermit<'a>, AcquireError>),
}

#[cfg(test)]
mod tests {
    use super::super::last::go_to_the_end;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_more_work_at_once_than_there_are_slots_and_all_of_it_is_done() {
        let (turnstile, at_work) = (Arc::new(Turnstile::with(2)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (turnstile, at_work) = (Arc::clone(&turnstile), Arc::clone(&at_work));
                tokio::spawn(async move {
                    let work = async {
                        for _ in 0..20 {
                            assert!(at_work.fetch_add(1, Ordering::SeqCst) < 2);
                            std::hint::black_box((0..1000).sum::<u64>());
                            at_work.fetch_sub(1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                        }
                    };
                    turnstile.pass(work).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(turnstile.slots.available_permits(), 2);
    }

    /// On one processor, with a task that goes round the run queue: between two of its turns there is only as much work as there
    /// are slots, although all of it can go on all the time.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_get_their_turn_after_as_much_work_as_there_are_slots() {
        const SLOTS: usize = 2;
        let (turnstile, done) = (Arc::new(Turnstile::with(SLOTS)), Arc::new(AtomicUsize::new(0)));
        let watching = tokio::spawn(async move {
            let work = |_| {
                let (turnstile, done) = (Arc::clone(&turnstile), Arc::clone(&done));
                tokio::spawn(async move {
                    let work = async {
                        for _ in 0..20 {
                            done.fetch_add(1, Ordering::SeqCst);
                            go_to_the_end().await;
                        }
                    };
                    turnstile.pass(work).await;
                })
            };
            let tasks: Vec<_> = (0..100).map(work).collect();
            let (mut before, mut most) = (0, 0);
            while tasks.iter().any(|task| !task.is_finished()) {
                go_to_the_end().await;
                let now = done.load(Ordering::SeqCst);
                most = most.max(now - before);
                before = now;
            }
            (before, most)
        });
        assert_eq!(watching.await.unwrap(), (2000, SLOTS));
    }

    #[tokio::test]
    async fn work_that_waits_holds_no_slot() {
        let turnstile = Arc::new(Turnstile::with(1));
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let first = Arc::clone(&turnstile);
        let first = tokio::spawn(async move { first.pass(wait).await });
        turnstile.pass(async { go.send(()) }).await.unwrap();
        first.await.unwrap().unwrap();
    }
}

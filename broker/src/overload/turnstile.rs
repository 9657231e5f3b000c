//! Lets only as many tasks work at something at the same instant as there are processors, in order. The run queue of the
//! runtime then holds few of them, however many there are, and others get their turn in between.
use std::pin::{Pin, pin};
use std::task::Poll;
use std::{future::poll_fn, num::NonZeroUsize};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Slots, each taken for the length of one poll.
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
    pub(crate) async fn pass<W: Future>(&self, work: W) -> W::Output {
        let mut work = pin!(work);
        let mut waiting: Option<Waiting<'_>> = None;
        poll_fn(|context| {
            let slot = match waiting.is_none().then(|| self.slots.try_acquire()) {
                Some(Ok(slot)) => Ok(slot),
                Some(Err(_)) | None => {
                    let wait = waiting.get_or_insert_with(|| Box::pin(self.slots.acquire()));
                    match wait.as_mut().poll(context) {
                        Poll::Ready(slot) => slot,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            };
            waiting = None;
            let done = work.as_mut().poll(context);
            drop(slot);
            done
        })
        .await
    }
}

#[cfg(test)]
mod tests {
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

//! A message for many wakes their connections a few at a time. Otherwise the run queue would hold them all, and whoever
//! wants to do something else, as to deliver another message, would wait behind the last of them.
use crate::message::SessionId;
use crate::overload::go_last;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use tokio::sync::Notify;

/// Connections that have mail and are to be woken.
#[derive(Default)]
pub(crate) struct Wakers {
    all: Vec<Waker>,
    /// This one need not be.
    awake: Option<SessionId>,
}

impl Wakers {
    /// None yet. The connection of a session is at work and will look for mail when it has done what it does.
    pub(crate) fn of_others_than(awake: SessionId) -> Self {
        Self { all: Vec::new(), awake: Some(awake) }
    }

    pub(crate) fn know_awake(&self, session: SessionId) -> bool {
        self.awake == Some(session)
    }

    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.all.extend(waker);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// So many are woken at once by whoever has mail for them: as many as a message for a few dozens has.
const FEW: usize = 64;
/// If there are more, so many at a time: enough to keep some processors busy, and few to wait behind, each some ten microseconds.
const AT_ONCE: usize = 16;

/// Those whose turn comes later.
#[derive(Default)]
pub(crate) struct Waking {
    later: Mutex<VecDeque<Waker>>,
    some: Notify,
    closed: AtomicBool,
}

impl Waking {
    /// Wakes them if they are few, and else has them woken. None are left.
    pub(crate) fn wake(&self, wakers: &mut Wakers) {
        /// Memory that is kept for the next of them.
        const KEPT: usize = 4;
        if wakers.all.len() <= FEW {
            wakers.all.drain(..).for_each(Waker::wake);
        } else {
            self.later.lock().extend(wakers.all.drain(..));
            self.some.notify_one();
        }
        if wakers.all.capacity() > KEPT {
            wakers.all = Vec::new();
        }
    }

    /// Wakes whose turn it is, until closed.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.some.notified().await;
            while let Some(wakers) = self.next() {
                wakers.into_iter().for_each(Waker::wake);
                go_last().await;
            }
            if self.closed.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Nobody will have mail any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.some.notify_one();
    }

    fn next(&self) -> Option<Vec<Waker>> {
        /// Memory that is kept for the next of them.
        const KEPT: usize = 1024;
        let mut later = self.later.lock();
        let count = later.len().min(AT_ONCE);
        let next: Vec<Waker> = later.drain(..count).collect();
        if later.is_empty() && later.capacity() > KEPT {
            *later = VecDeque::new();
        }
        (!next.is_empty()).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overload::go_to_the_end;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Poll, Wake};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn few_are_woken_at_once_and_of_many_the_rest_a_few_at_a_time() {
        let waking = Arc::new(Waking::default());
        let task = tokio::spawn(Arc::clone(&waking).run());
        let count = Arc::new(Count::default());
        let woken = || count.0.load(Ordering::SeqCst);
        let wakers = |number| {
            let all = (0..number).map(|_| Waker::from(Arc::clone(&count))).collect();
            Wakers { all, awake: None }
        };
        waking.wake(&mut wakers(FEW));
        assert_eq!(woken(), FEW);
        waking.wake(&mut wakers(3 * FEW));
        assert_eq!(woken(), FEW);
        let mut before = woken();
        while woken() < 4 * FEW {
            tokio::task::yield_now().await;
            assert!(woken() - before <= AT_ONCE);
            before = woken();
        }
        waking.close();
        task.await.unwrap();
        assert_eq!(woken(), 4 * FEW);
    }

    /// On one processor, with connections that all can go on once they are woken, and a task that goes round the run queue.
    #[test]
    fn others_get_their_turn_after_as_many_as_are_woken_at_once() {
        const MANY: usize = 20 * AT_ONCE;
        let runtime = crate::runtime::builder().worker_threads(1).build().unwrap();
        let most = runtime.block_on(runtime.spawn(async {
            let (waking, done) = (Arc::new(Waking::default()), Arc::new(AtomicUsize::new(0)));
            let asleep: Vec<Arc<Mutex<Option<Waker>>>> = (0..MANY).map(|_| Arc::default()).collect();
            for waker in &asleep {
                let (waker, done) = (Arc::clone(waker), Arc::clone(&done));
                tokio::spawn(poll_fn(move |context| match waker.lock().replace(context.waker().clone()) {
                    None => Poll::Pending,
                    Some(_) => {
                        done.fetch_add(1, Ordering::SeqCst);
                        Poll::Ready(())
                    }
                }));
            }
            while asleep.iter().any(|waker| waker.lock().is_none()) {
                go_last().await;
            }
            let task = tokio::spawn(Arc::clone(&waking).run());
            let all = asleep.iter().filter_map(|waker| waker.lock().clone()).collect();
            waking.wake(&mut Wakers { all, awake: None });
            let (mut before, mut most) = (0, 0);
            while before < MANY {
                go_to_the_end().await;
                let now = done.load(Ordering::SeqCst);
                most = most.max(now - before);
                before = now;
            }
            waking.close();
            task.await.unwrap();
            most
        }));
        let most = most.unwrap();
        assert!(most <= AT_ONCE, "{most}");
    }
}

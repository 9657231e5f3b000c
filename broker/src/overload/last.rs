//! Going last.
use std::future::poll_fn;
use std::task::Poll;

/// Lets everybody else go first: those who can go on already, and those for whom something has come meanwhile. While there is
/// always somebody, it takes only as long as the runtime takes to look for what has come: see [`crate::runtime`].
///
/// Use this and not [`tokio::task::yield_now`] alone: that comes back when the runtime has looked, which while there is much to
/// do is after a few turns of others, and in front of everybody else. Who puts more into the queue at each of its turns would fill it.
pub(crate) async fn go_last() {
    // Until nobody is in the queue any more, or the runtime has looked.
    tokio::task::yield_now().await;
    // Behind those whom it has found.
    go_to_the_end().await;
}

/// To the end of the run queue: there goes a task that wakes itself.
pub(crate) async fn go_to_the_end() {
    let mut there = false;
    poll_fn(|context| match std::mem::replace(&mut there, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// On one processor, with many that can always go on.
    #[test]
    fn who_goes_last_comes_after_everybody_else() {
        const MANY: usize = 100;
        let runtime = crate::runtime::builder().worker_threads(1).build().unwrap();
        let turns = Arc::new(AtomicUsize::new(0));
        for _ in 0..MANY {
            let turns = Arc::clone(&turns);
            runtime.spawn(async move {
                loop {
                    turns.fetch_add(1, Ordering::SeqCst);
                    go_to_the_end().await;
                }
            });
        }
        runtime.block_on(async {
            let last = tokio::spawn(async move {
                go_last().await;
                for _ in 0..20 {
                    let before = turns.load(Ordering::SeqCst);
                    go_last().await;
                    assert!(turns.load(Ordering::SeqCst) - before >= MANY);
                }
            });
            last.await.unwrap();
        });
        runtime.shutdown_background();
    }
}

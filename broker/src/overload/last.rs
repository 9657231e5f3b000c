//! Going last.
use std::future::poll_fn;
use std::task::Poll;

/// Lets everybody else go first: those who can go on already, and those for whom something has come meanwhile. While there is
/// always somebody, it takes only as long as the runtime takes to look for what has come: see [`crate::runtime`].
pub(crate) async fn go_last() {
    // Until nobody is in the queue any more, and the runtime has looked.
    tokio::task::yield_now().await;
    // Behind those whom it has found. A task that wakes itself goes to the end of the queue.
    let mut behind = false;
    poll_fn(|context| match std::mem::replace(&mut behind, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

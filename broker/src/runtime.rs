//! The runtime that a broker is to run in.
use tokio::runtime::Builder;

/// After so many turns the runtime looks for what has come, however much there is to go on with. Its default, 61, is meant for
/// turns of some microseconds; the cryptography of a handshake takes a fifth of a millisecond, and while many come at once there
/// is always one to go on with. A look costs a microsecond.
const TURNS_BETWEEN_LOOKS: u32 = 8;

/// As many threads as there are processors, with what a broker needs.
pub fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.event_interval(TURNS_BETWEEN_LOOKS).enable_all();
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overload::go_to_the_end;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::yield_now;

    /// On one processor, with a task that can always go on.
    #[test]
    fn what_has_come_is_looked_for_every_few_turns() {
        let runtime = builder().worker_threads(1).build().unwrap();
        let turns = runtime.block_on(runtime.spawn(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut receiver, _) = listener.accept().await.unwrap();
            let came = Arc::new(AtomicUsize::new(0));
            let reading = Arc::clone(&came);
            let reading = tokio::spawn(async move {
                while receiver.read(&mut [0]).await.unwrap() > 0 {
                    reading.fetch_add(1, Ordering::SeqCst);
                }
            });
            let mut most = 0;
            for number in 0..100 {
                yield_now().await;
                assert_eq!(sender.try_write(b"!").unwrap(), 1);
                let mut turns = 0;
                while came.load(Ordering::SeqCst) == number {
                    go_to_the_end().await;
                    turns += 1;
                }
                most = most.max(turns);
            }
            drop(sender);
            reading.await.unwrap();
            most
        }));
        assert!(turns.unwrap() <= TURNS_BETWEEN_LOOKS + 2);
    }
}

//! What a process of a run is told by the one that has started it: a line each.
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The lines of our input, until it ends.
pub fn orders() -> UnboundedReceiver<String> {
    let (sender, orders) = unbounded_channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
    });
    orders
}

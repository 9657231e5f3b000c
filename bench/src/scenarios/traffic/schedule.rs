//! Messages at a fixed rate, whoever is behind (an open loop): each is due at a time that is known before, so that a server
//! that holds up one message does not delay the next one's clock.
use super::Flow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// Who publishes when.
pub struct Schedule {
    pub epoch: Instant,
    /// Messages per second, of all publishers together, who take turns.
    pub rate: f64,
    pub length: Duration,
    pub publishers: Vec<(UnboundedSender<u64>, Arc<Flow>)>,
}

impl Schedule {
    /// Hands every message to its publisher when it is due; blocks this thread until the last one was.
    pub fn run(self) {
        let all = (self.length.as_secs_f64() * self.rate) as u64;
        let turns = self.publishers.iter().cycle();
        for (number, (publisher, flow)) in (0..all).zip(turns) {
            let due = Duration::from_secs_f64(number as f64 / self.rate);
            let now = self.epoch.elapsed();
            if now < due {
                std::thread::sleep(due - now);
            }
            flow.announce();
            if publisher.send(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX)).is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    #[test]
    fn publishers_take_turns_and_every_message_is_due_at_its_time() {
        let (first, mut first_due) = unbounded_channel();
        let (second, mut second_due) = unbounded_channel();
        let flow = Arc::new(Flow::new(1, 1));
        let schedule = Schedule {
            epoch: Instant::now(),
            rate: 1000.0,
            length: Duration::from_millis(5),
            publishers: vec![(first, flow.clone()), (second, flow.clone())],
        };
        schedule.run();
        let due = |receiver: &mut tokio::sync::mpsc::UnboundedReceiver<u64>| {
            std::iter::from_fn(|| receiver.try_recv().ok()).collect::<Vec<_>>()
        };
        assert_eq!(due(&mut first_due), [0, 2_000_000, 4_000_000]);
        assert_eq!(due(&mut second_due), [1_000_000, 3_000_000]);
        assert_eq!(flow.balance(), (5, 0));
    }
}

//! When each message is due, and whose it is.
use std::time::Duration;

/// Publishers take turns; messages are numbered from 0.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    rate: f64,
    count: u64,
    publishers: u64,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Nanoseconds after the first one.
    pub due: u64,
    pub publisher: usize,
}

impl Turns {
    /// `rate`: messages per second, of all publishers together.
    pub fn new(rate: f64, length: Duration, publishers: usize) -> Self {
        let count = (length.as_secs_f64() * rate) as u64;
        Self { rate, count, publishers: u64::try_from(publishers.max(1)).unwrap_or(u64::MAX) }
    }

    /// How many messages there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The publisher of a message.
    pub fn whose(&self, number: u64) -> usize {
        usize::try_from(number % self.publishers).unwrap_or(usize::MAX)
    }

    /// All of them, one after the other.
    pub fn all(self) -> impl Iterator<Item = Turn> + Send {
        (0..self.count).map(move |number| Turn {
            due: (number as f64 * 1e9 / self.rate) as u64,
            publisher: self.whose(number),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns_and_every_message_is_due_at_its_time() {
        let turns = Turns::new(1000.0, Duration::from_millis(5), 2);
        assert_eq!(turns.count(), 5);
        let of = |publisher| {
            let own = turns.all().filter(move |turn| turn.publisher == publisher);
            own.map(|turn| turn.due).collect::<Vec<_>>()
        };
        assert_eq!(of(0), [0, 2_000_000, 4_000_000]);
        assert_eq!(of(1), [1_000_000, 3_000_000]);
    }
}

//! The line in front of the TLS handshakes: first come, first served, and nobody waits who could not be served in time. A
//! line that is longer than clients wait only works for those who have left.
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Places for handshakes, and the line in front of them.
pub(crate) struct Handshakes {
    line: Arc<Mutex<Line<Turn>>>,
    since: Instant,
}

/// Tells the first in line that it is its turn.
type Turn = oneshot::Sender<Place>;

/// The right to shake hands; dropping it calls the next.
pub(crate) struct Place {
    line: Arc<Mutex<Line<Turn>>>,
    since: Instant,
}

impl Handshakes {
    /// So many at the same time; as many wait as `most`, and none longer than `patience` by all appearances.
    pub(crate) fn new(places: usize, most: usize, patience: Duration) -> Self {
        Self { line: Arc::new(Mutex::new(Line::new(places, most, patience))), since: Instant::now() }
    }

    /// Whether one more would be turned away: cheaper to know before anything is done for it.
    pub(crate) fn is_full(&self) -> bool {
        self.line.lock().is_full()
    }

    /// Waits for a place. `None`: the line is too long.
    pub(crate) async fn place(&self) -> Option<Place> {
        let (turn, mine) = oneshot::channel();
        let arrival = self.line.lock().arrive(turn);
        match arrival {
            Arrival::Served => {}
            Arrival::Waits => return mine.await.ok(),
            Arrival::TurnedAway => return None,
        }
        Some(Place { line: Arc::clone(&self.line), since: self.since })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.since.elapsed();
        let mut line = self.line.lock();
        while let Some(next) = line.finish(now) {
            if next.is_closed() {
                // It has given up; its place is free again.
                continue;
            }
            drop(line);
            let place = Self { line: Arc::clone(&self.line), since: self.since };
            // If it gives up this very moment the place comes back, and is dropped, which calls the one behind it.
            drop(next.send(place));
            return;
        }
    }
}

/// Who is being served, and who waits, in order.
#[derive(Debug)]
struct Line<T> {
    places: usize,
    most: usize,
    patience: Duration,
    serving: usize,
    waiting: VecDeque<T>,
    /// The mean time from one end to the next while somebody waits.
    pace: Duration,
    /// Of how many ends that is the mean, [`SMOOTHING`] at most.
    ends: u32,
    /// When the last one ended, if somebody has waited ever since.
    last_end: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    Served,
    Waits,
    TurnedAway,
}

/// An end changes the mean by this part of the difference. Before there were as many it is not known well enough to send anybody
/// away: the first ends of a storm are far apart.
const SMOOTHING: u32 = 64;

impl<T> Line<T> {
    fn new(places: usize, most: usize, patience: Duration) -> Self {
        Self {
            places: places.max(1),
            most,
            patience,
            serving: 0,
            waiting: VecDeque::new(),
            pace: Duration::ZERO,
            ends: 0,
            last_end: None,
        }
    }

    /// Would one more be turned away?
    fn is_full(&self) -> bool {
        self.serving >= self.places
            && (self.waiting.len() >= self.most || self.expected_wait() > self.patience)
    }

    /// How long one more would wait, as far as is known.
    fn expected_wait(&self) -> Duration {
        let ahead = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let pace = if self.ends < SMOOTHING { Duration::ZERO } else { self.pace };
        pace.saturating_mul(ahead)
    }

    fn arrive(&mut self, who: T) -> Arrival {
        if self.serving < self.places {
            self.serving += 1;
            return Arrival::Served;
        }
        if self.is_full() {
            return Arrival::TurnedAway;
        }
        self.waiting.push_back(who);
        Arrival::Waits
    }

    /// One who was served is through. Returns who is served next.
    fn finish(&mut self, now: Duration) -> Option<T> {
        let Some(next) = self.waiting.pop_front() else {
            self.serving = self.serving.saturating_sub(1);
            self.last_end = None;
            return None;
        };
        if let Some(last) = self.last_end.replace(now) {
            let took = now.saturating_sub(last);
            self.ends = (self.ends + 1).min(SMOOTHING);
            self.pace = (self.pace * (self.ends - 1) + took) / self.ends;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_line_is_not_joined_where_it_is_longer_than_it_may_be() {
        let mut line = Line::new(2, 3, MINUTE);
        let arrivals: Vec<_> = (0..6).map(|who| line.arrive(who)).collect();
        use Arrival::{Served, TurnedAway, Waits};
        assert_eq!(arrivals, [Served, Served, Waits, Waits, Waits, TurnedAway]);
        assert!(line.is_full());
        assert_eq!(line.finish(MILLISECOND), Some(2));
        assert_eq!(line.arrive(6), Waits);
    }

    #[test]
    fn a_line_is_not_joined_where_it_takes_longer_than_anybody_waits() {
        let mut line = Line::new(1, usize::MAX, Duration::from_secs(1));
        for who in 0..100 {
            line.arrive(who);
        }
        // One every 100 ms: the tenth in line is served in a second.
        let mut now = Duration::ZERO;
        for _ in 0..80 {
            now += 100 * MILLISECOND;
            line.finish(now);
        }
        assert_eq!((line.waiting.len(), line.arrive(100)), (19, Arrival::TurnedAway));
        for _ in 0..9 {
            now += 100 * MILLISECOND;
            line.finish(now);
        }
        assert_eq!(line.arrive(101), Arrival::Waits);
        assert_eq!(line.arrive(102), Arrival::TurnedAway);
    }

    #[test]
    fn a_quiet_hour_is_not_taken_for_a_slow_handshake() {
        let mut line = Line::new(1, usize::MAX, MINUTE);
        line.arrive(0);
        assert_eq!(line.finish(MILLISECOND), None);
        let later = MILLISECOND + 60 * MINUTE;
        for who in 0..3 {
            line.arrive(who);
        }
        line.finish(later);
        line.finish(later + MILLISECOND);
        assert_eq!(line.pace, MILLISECOND);
    }

    proptest! {
        /// Whatever comes and goes: first come, first served, no place stays empty while somebody waits, and nobody is lost.
        #[test]
        fn first_come_first_served(
            places in 1..5usize,
            most in 0..8usize,
            steps in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut line = Line::new(places, most, MINUTE);
            let (mut model, mut serving, mut now) = (VecDeque::new(), 0, Duration::ZERO);
            for (who, arrives) in steps.into_iter().enumerate() {
                now += MILLISECOND;
                if arrives {
                    let expected = match () {
                        () if serving < places => { serving += 1; Arrival::Served }
                        () if model.len() < most => { model.push_back(who); Arrival::Waits }
                        () => Arrival::TurnedAway,
                    };
                    prop_assert_eq!(line.is_full(), expected == Arrival::TurnedAway);
                    prop_assert_eq!(line.arrive(who), expected);
                } else if serving > 0 {
                    let next = model.pop_front();
                    serving -= usize::from(next.is_none());
                    prop_assert_eq!(line.finish(now), next);
                }
                prop_assert_eq!((line.serving, line.waiting.len()), (serving, model.len()));
            }
        }
    }

    #[tokio::test]
    async fn places_are_handed_on_in_order_past_those_who_gave_up() {
        let handshakes = Arc::new(Handshakes::new(1, 10, MINUTE));
        let first = handshakes.place().await.unwrap();
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut waiting = Vec::new();
        for number in 0..5 {
            let (line, served) = (Arc::clone(&handshakes), served.clone());
            waiting.push(tokio::spawn(async move {
                let _place = line.place().await.unwrap();
                served.send(number).unwrap();
            }));
            while handshakes.line.lock().waiting.len() <= number {
                tokio::task::yield_now().await;
            }
        }
        for number in [1, 2] {
            waiting[number].abort();
            while !waiting[number].is_finished() {
                tokio::task::yield_now().await;
            }
        }
        drop((first, served));
        let mut seen = Vec::new();
        while let Some(number) = order.recv().await {
            seen.push(number);
        }
        assert_eq!(seen, [0, 3, 4]);
        let line = handshakes.line.lock();
        assert_eq!((line.serving, line.waiting.len()), (0, 0));
    }

    #[tokio::test]
    async fn who_finds_the_line_full_is_told_at_once() {
        let handshakes = Handshakes::new(1, 0, MINUTE);
        let place = handshakes.place().await.unwrap();
        assert!(handshakes.is_full() && handshakes.place().await.is_none());
        drop(place);
        assert!(!handshakes.is_full() && handshakes.place().await.is_some());
    }
}

//! A message for very many goes to some of them at a time, so that whoever publishes it can let others have their turn in
//! between. Each session still gets all messages in the order in which one client published them: the next one comes after
//! the last of this.
//!
//! What has to be stored for those of them is a batch, and whoever publishes is told once the last one is durable. A kill in between
//! leaves it with some and not with others, and the publisher without an answer: it sends a message of QoS 1 again. That of a durable
//! session's QoS 2 it may not get twice, and a last will goes with its row: those are one batch, and not cut.
use super::Local;
use super::waking::Wakers;
use crate::message::{Delivery, Message, QoS, SubscriptionIdentifiers};
use crate::router::{Keyed, MANY, Match, Matches, Walk};
use crate::session::durable::Ticket;
use crate::session::{Lag, Session};
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sessions that a message goes to at once, if it is for no more, or to be stored for them: some tenths of a millisecond.
pub(super) const AT_ONCE: usize = MANY;
/// … if it is for more, and not to be stored. They are woken at once, too, and whoever wants something else waits behind them.
pub(super) const UNSTORED_AT_ONCE: usize = 16;
/// … and that are passed over at once.
pub(super) const PASSED_AT_ONCE: usize = 1024;

/// Matches of all messages together that are under way, unless it is a single one. A message for which there is no room goes to all
/// at once: however many publish to very many, what waits for its turn takes some tens of megabytes at most. Mostly it shares the
/// router's memory; while subscriptions come and go, it has a copy of what was.
pub(super) const UNDER_WAY: usize = 1 << 20;

/// Who is still to get a message.
pub(crate) struct FanOut {
    message: Arc<Message>,
    rest: Peekable<Walk<Arc<Session>>>,
    turn: Turn,
    /// How many those were at first, at most, and how many sessions have had their turn.
    matched: usize,
    sessions: usize,
    so_far: HandedOut,
    /// Given back at the end.
    _room: OwnedSemaphorePermit,
}

/// Whose turn it is, of those who are still to get a message.
enum Turn {
    /// It is to be stored for none of them.
    Everybody,
    /// For whom it is to be stored: as many of them as can be in each batch. Then the others, as all are walked again.
    Stored(Box<Walk<Arc<Session>>>),
    Unstored,
}

/// What its publisher has to know of a message that all have.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    /// The last batch that it is stored in; 0: it need not be.
    pub(crate) ticket: Ticket,
    /// Of one whom the publisher should wait for.
    pub(crate) lag: Option<Arc<Lag>>,
    /// Matches that were of one session with others, or of its publisher, which wants none of its own.
    pub(crate) too_many: usize,
}

impl FanOut {
    /// Takes those out of very many who can get a message later. `whole`: those are not among them for whom it has to be stored.
    /// `stores`: there may be such. `room`: for all that are under way. `None`: all get it at once.
    pub(super) fn of_many(
        message: &Arc<Message>,
        matches: &mut Matches<Arc<Session>>,
        whole: bool,
        stores: bool,
        room: &Arc<Semaphore>,
    ) -> Option<Self> {
        if !matches.are_many() {
            return None;
        }
        let takes = matches.len().min(UNDER_WAY);
        let room =
            u32::try_from(takes).ok().and_then(|takes| Arc::clone(room).try_acquire_many_owned(takes).ok());
        if whole || room.is_none() {
            matches.gather();
        }
        let room = room?;
        let (rest, turn) = if whole {
            let can_wait = |found: &mut Match<_>| found.shared.is_none() && !found.is_stored(message);
            (Walk::of(matches.few.extract_if(.., can_wait).collect()), Turn::Everybody)
        } else {
            let all = matches.take_single();
            let turn = match stores && message.qos > QoS::AtMostOnce {
                false => Turn::Everybody,
                true => Turn::Stored(Box::new(all.clone())),
            };
            (all, turn)
        };
        let matched = rest.len();
        let (message, so_far) = (Arc::clone(message), HandedOut::default());
        Some(Self { message, rest: rest.peekable(), turn, matched, sessions: 0, so_far, _room: room })
    }

    /// For how many it is, in all, at most: see [`HandedOut::too_many`].
    pub(super) fn matched(&self) -> usize {
        self.matched
    }

    /// Delivers to some more; adds who is to be woken. `Continue`: others are left. `Break`: all have it.
    pub(crate) fn go_on(&mut self, local: &Local, wakers: &mut Wakers) -> ControlFlow<HandedOut> {
        /// A step, and what each of those takes of it that go at once.
        const STEP: usize = 4096;
        let mut recording = local.recording();
        recording.one_for_many();
        let mut left = STEP;
        while left > 0
            && let Some(first) = self.rest.next()
        {
            let is_stored = first.is_stored(&self.message);
            let is_passed_over = match &self.turn {
                Turn::Everybody => false,
                Turn::Stored(_) => !is_stored,
                Turn::Unstored => is_stored,
            };
            left = left.saturating_sub(match is_stored {
                _ if is_passed_over => STEP / PASSED_AT_ONCE,
                true => STEP / AT_ONCE,
                false => STEP / UNSTORED_AT_ONCE,
            });
            if is_passed_over {
                continue;
            }
            let (session, delivery) = one_delivery(first, &mut self.rest, &self.message);
            self.sessions += 1;
            // A session that has ended since gets nothing.
            if let Ok(Some(lag)) = local.push(&session, delivery, &mut recording, wakers) {
                self.so_far.lag = Some(lag);
            }
        }
        self.so_far.ticket = recording.urgent().max(self.so_far.ticket);
        match (self.rest.peek(), std::mem::replace(&mut self.turn, Turn::Unstored)) {
            (None, Turn::Stored(all)) => {
                self.rest = (*all).peekable();
                ControlFlow::Continue(())
            }
            (Some(_), turn) => {
                self.turn = turn;
                ControlFlow::Continue(())
            }
            (None, _) => {
                self.so_far.too_many = self.matched.saturating_sub(self.sessions);
                ControlFlow::Break(std::mem::take(&mut self.so_far))
            }
        }
    }
}

/// Subscriptions of one session that overlap are one delivery: takes the others of the first one's session, too.
pub(super) fn one_delivery(
    mut first: Match<Arc<Session>>,
    others: &mut Peekable<impl Iterator<Item = Match<Arc<Session>>>>,
    message: &Arc<Message>,
) -> (Arc<Session>, Delivery) {
    let mut identifiers = SubscriptionIdentifiers::from(first.identifier);
    while let Some(same) = others.next_if(|next| first.is_of_the_same_session(next)) {
        first.qos = first.qos.max(same.qos);
        first.retain_as_published |= same.retain_as_published;
        if let Some(identifier) = same.identifier {
            identifiers.add(identifier);
        }
    }
    let delivery = Delivery { subscription_identifiers: identifiers, ..first.delivery(message) };
    (first.subscriber, delivery)
}

impl Match<Arc<Session>> {
    /// May a message have to be stored for it?
    fn is_stored(&self, message: &Message) -> bool {
        message.qos > QoS::AtMostOnce && self.subscriber.is_durable()
    }

    /// Both are no subscriptions of groups, and of one session.
    pub(super) fn is_of_the_same_session(&self, other: &Self) -> bool {
        self.shared.is_none() && other.shared.is_none() && self.subscriber.key() == other.subscriber.key()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{clean, filter, mail, message, open, options, payloads, qos, subscribe};
    use super::super::{Backend, BackendOptions, Close, OpenRequest, Will};
    use super::{AT_ONCE, UNDER_WAY, UNSTORED_AT_ONCE};
    use crate::message::{Message, QoS};
    use crate::session::SessionHandle;
    use std::ops::ControlFlow;
    use std::time::Duration;

    /// More than go at once, each with two filters that overlap.
    async fn crowd(backend: &Backend) -> Vec<SessionHandle> {
        let mut crowd = Vec::new();
        for number in 0..2 * AT_ONCE {
            let mut session = open(backend, clean(&format!("crowd-{number}"))).await;
            subscribe(&mut session, "to/+", qos(QoS::AtLeastOnce)).await;
            subscribe(&mut session, "to/all", qos(QoS::AtMostOnce)).await;
            crowd.push(session);
        }
        crowd
    }

    fn numbered(topic: &str, number: usize) -> Message {
        Message::new(topic, number.to_string(), QoS::AtLeastOnce)
    }

    #[tokio::test]
    async fn a_message_for_very_many_goes_to_some_at_a_time_and_to_each_once() {
        let backend = Backend::start(options());
        let mut crowd = crowd(&backend).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        let published = publisher.publish_unannounced(numbered("to/all", 0), None, false).unwrap();
        assert_eq!(published.matched, 2 * crowd.len(), "those that overlap are found on the way");
        let mut have_it = 0;
        loop {
            let step = publisher.deliver_more();
            let new = crowd.iter_mut().map(|session| mail(session).len()).sum::<usize>();
            assert!((1..=UNSTORED_AT_ONCE).contains(&new), "{new}");
            have_it += new;
            if step.is_break() {
                break;
            }
        }
        assert_eq!(have_it, crowd.len());
        assert!(publisher.deliver_more().is_break());
        // Few get it at once.
        crowd.truncate(10);
        assert_eq!(publisher.publish_unannounced(numbered("to/all", 1), None, false).unwrap().matched, 10);
        assert!(crowd.iter_mut().all(|session| payloads(&mail(session)) == ["1"]));
    }

    #[tokio::test]
    async fn when_too_much_is_under_way_the_next_message_goes_to_all_at_once() {
        let backend = Backend::start(options());
        let mut crowd = crowd(&backend).await;
        let matches = 2 * crowd.len();
        // Others are for so many that there is only room for one like this.
        let others = backend.local.under_way.try_acquire_many((UNDER_WAY - matches) as u32).unwrap();
        let (mut first, mut second) =
            (open(&backend, clean("first")).await, open(&backend, clean("second")).await);
        let mut new = || crowd.iter_mut().map(|session| mail(session).len()).sum::<usize>();
        first.publish_unannounced(numbered("to/all", 0), None, false).unwrap();
        assert_eq!(new(), 0);
        second.publish_unannounced(numbered("to/all", 1), None, false).unwrap();
        assert!(second.deliver_more().is_break());
        assert_eq!(new(), 2 * AT_ONCE);
        while first.deliver_more().is_continue() {}
        second.publish_unannounced(numbered("to/all", 2), None, false).unwrap();
        assert_eq!(new(), 2 * AT_ONCE);
        drop((others, second));
        assert_eq!((new(), backend.local.under_way.available_permits()), (2 * AT_ONCE, UNDER_WAY));
    }

    #[tokio::test]
    async fn everybody_gets_everything_in_order_whoever_comes_goes_and_unsubscribes_meanwhile() {
        const ROUNDS: usize = 12;
        let backend = Backend::start(options());
        let mut crowd = crowd(&backend).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        let (mut late, mut left) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let topic = ["to/all", "to/one"][round % 2];
            publisher.publish_unannounced(numbered(topic, round), None, false).unwrap();
            assert!(publisher.deliver_more().is_continue());
            // In the middle: one goes, one wants no more, and one comes.
            crowd.remove(17 * round).close(Close::NORMAL);
            let mut leaver = crowd.pop().unwrap();
            assert!(leaver.unsubscribe(&filter("to/+")).await && leaver.unsubscribe(&filter("to/all")).await);
            left.push((round, leaver));
            let mut comer = open(&backend, clean(&format!("late-{round}"))).await;
            subscribe(&mut comer, "to/#", qos(QoS::AtMostOnce)).await;
            late.push((round, comer));
            if round % 3 > 0 {
                while publisher.deliver_more().is_continue() {}
            }
        }
        publisher.close(Close::NORMAL);
        let numbers = |range: std::ops::Range<usize>| range.map(|n| n.to_string()).collect::<Vec<_>>();
        for session in &mut crowd {
            assert_eq!(payloads(&mail(session)), numbers(0..ROUNDS));
        }
        for (round, session) in &mut late {
            assert_eq!(payloads(&mail(session)), numbers(*round + 1..ROUNDS), "came in round {round}");
        }
        for (round, session) in &mut left {
            let got = mail(session);
            let expected = [numbers(0..*round), numbers(0..*round + 1)];
            assert!(expected.iter().any(|expected| payloads(&got) == *expected), "left in round {round}");
        }
    }

    #[tokio::test]
    async fn a_message_of_somebody_else_passes_while_one_for_very_many_is_under_way() {
        let backend = Backend::start(options());
        let mut crowd = crowd(&backend).await;
        let (mut publisher, mut other) =
            (open(&backend, clean("publisher")).await, open(&backend, clean("other")).await);
        let mut quiet = open(&backend, clean("quiet")).await;
        subscribe(&mut quiet, "quiet", qos(QoS::AtMostOnce)).await;
        publisher.publish_unannounced(numbered("to/all", 0), None, false).unwrap();
        assert!(publisher.deliver_more().is_continue());
        other.publish(message("quiet", "now", QoS::AtMostOnce)).unwrap();
        assert_eq!(payloads(&mail(&mut quiet)), ["now"]);
        let mut new = || crowd.iter_mut().map(|session| mail(session).len()).sum::<usize>();
        assert_eq!(new(), UNSTORED_AT_ONCE);
        while publisher.deliver_more().is_continue() {}
        assert_eq!(new(), 2 * AT_ONCE - UNSTORED_AT_ONCE);
    }

    #[tokio::test]
    async fn the_publisher_waits_for_one_that_lags_behind_whenever_it_gets_the_message() {
        let backend = Backend::start(BackendOptions { queued_messages: 4, ..options() });
        let _crowd = crowd(&backend).await;
        let mut publisher = open(&backend, clean("publisher")).await;
        assert!(publisher.publish(numbered("to/all", 0)).unwrap().lag.is_none());
        let published = publisher.publish_unannounced(numbered("to/all", 1), None, false).unwrap();
        assert!(published.lag.is_none());
        let lag = loop {
            if let ControlFlow::Break(lag) = publisher.deliver_more() {
                break lag;
            }
        };
        assert!(lag.is_some());
    }

    #[tokio::test]
    async fn a_publisher_that_vanishes_has_published_to_all_before_its_will() {
        let backend = Backend::start(options());
        let mut crowd = crowd(&backend).await;
        let will = message("to/all", "will", QoS::AtMostOnce);
        let will = Some(Will { message: will, message_expiry: None, delay: Duration::ZERO, authority: None });
        let mut publisher = open(&backend, OpenRequest { will, ..clean("publisher") }).await;
        publisher.publish_unannounced(numbered("to/all", 0), None, false).unwrap();
        drop(publisher);
        assert!(crowd.iter_mut().all(|session| payloads(&mail(session)) == ["0", "will"]));
    }

    #[tokio::test]
    async fn a_message_of_the_broker_itself_lets_others_pass_and_goes_to_all_though_nobody_waits() {
        let backend = Backend::start(options());
        let mut crowd = crowd(&backend).await;
        let publishing = backend.clone();
        let asking = tokio::spawn(async move { publishing.publish_in_turns(numbered("to/all", 0)).await });
        let mut new = || crowd.iter_mut().map(|session| mail(session).len()).sum::<usize>();
        let mut have_it = 0;
        while have_it == 0 {
            tokio::task::yield_now().await;
            have_it = new();
        }
        assert_eq!(have_it, UNSTORED_AT_ONCE);
        asking.abort();
        while have_it < 2 * AT_ONCE {
            tokio::task::yield_now().await;
            have_it += new();
        }
        let published = backend.publish_in_turns(numbered("to/all", 1)).await.unwrap();
        assert_eq!((published.matched, new()), (2 * AT_ONCE, 2 * AT_ONCE));
    }
}

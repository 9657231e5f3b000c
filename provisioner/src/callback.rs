//! Programs outside that are asked before something is done: pre-provisioning hooks, certificate providers. Each is known
//! by an ARN; who carries the question there (HTTP, a command) is told by whoever opens the registry.
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A way to ask one program outside.
#[async_trait]
pub trait Callback: Send + Sync {
    /// Hands over a question in JSON and gives the answer's bytes, of which no more than
    /// [`Callbacks::LONGEST_ANSWER`] should be read. It is dropped at the deadline: what it has started must end then.
    ///
    /// # Errors
    /// One sentence for an operator: what happened (refused, not 2xx, exit code …). It must not carry secrets.
    async fn call(&self, question: &[u8]) -> Result<Vec<u8>, String>;
}

/// The programs that may be asked, by ARN. `Default`: none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Callbacks {
    targets: BTreeMap<String, Target>,
}

#[derive(Clone)]
struct Target {
    callback: Arc<dyn Callback>,
    /// Calls under way, at most; shared by all clones.
    places: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// No program has this ARN.
    #[error("nothing is configured for {0}: add it to [hooks] in the configuration")]
    Unknown(String),
    /// As many calls as allowed are under way.
    #[error("as many calls as allowed are under way to {0}")]
    Busy(String),
    /// No answer within [`Callbacks::DEADLINE`].
    #[error("{0} did not answer within {seconds} seconds", seconds = Callbacks::DEADLINE.as_secs())]
    TooSlow(String),
    /// It could not be asked, or said no.
    #[error("{arn} gave no answer: {message}")]
    Failed {
        /// Whom.
        arn: String,
        /// What the [`Callback`] says.
        message: String,
    },
}

impl Callbacks {
    /// A call takes no longer (`spec/fleet-provisioning.md` sections 7 and 9).
    pub const DEADLINE: Duration = Duration::from_secs(5);
    /// Bytes of an answer, at most.
    pub const LONGEST_ANSWER: usize = 256 * 1024;

    /// Adds a program, or puts it in the place of the one with this ARN. `concurrency`: calls at a time, at least 1;
    /// further ones fail at once.
    #[must_use]
    pub fn with(mut self, arn: impl Into<String>, callback: Arc<dyn Callback>, concurrency: usize) -> Self {
        let places = Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        self.targets.insert(arn.into(), Target { callback, places });
        self
    }

    /// Whether a program has this ARN.
    pub fn knows(&self, arn: &str) -> bool {
        self.targets.contains_key(arn)
    }

    /// The ARNs, in order.
    pub fn arns(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// Asks the program with this ARN, once.
    ///
    /// # Errors
    /// [`CallbackError`]: fail closed.
    pub async fn call(&self, arn: &str, question: &[u8]) -> Result<Vec<u8>, CallbackError> {
        let target = self.targets.get(arn).ok_or_else(|| CallbackError::Unknown(arn.into()))?;
        let Ok(_place) = target.places.try_acquire() else { return Err(CallbackError::Busy(arn.into())) };
        let failed = |message| CallbackError::Failed { arn: arn.into(), message };
        match tokio::time::timeout(Self::DEADLINE, target.callback.call(question)).await {
            Err(_) => Err(CallbackError::TooSlow(arn.into())),
            Ok(Err(message)) => Err(failed(message)),
            Ok(Ok(answer)) if answer.len() > Self::LONGEST_ANSWER => {
                Err(failed(format!("it is longer than {} bytes", Self::LONGEST_ANSWER)))
            }
            Ok(Ok(answer)) => Ok(answer),
        }
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.arns()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Notify;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:check";

    /// Answers what it was asked once it may.
    #[derive(Default)]
    struct Echo {
        asked: Notify,
        may_answer: Option<Notify>,
    }
    #[async_trait]
    impl Callback for Echo {
        async fn call(&self, question: &[u8]) -> Result<Vec<u8>, String> {
            self.asked.notify_one();
            if let Some(may_answer) = &self.may_answer {
                may_answer.notified().await;
            }
            match question {
                b"fail" => Err("status 500".into()),
                b"long" => Ok(vec![b' '; Callbacks::LONGEST_ANSWER + 1]),
                _ => Ok(question.into()),
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_or_answered_is_an_error_that_says_so() {
        let callbacks = Callbacks::default().with(ARN, Arc::new(Echo::default()), 1);
        assert_eq!(callbacks.call(ARN, b"hello").await.unwrap(), b"hello");
        assert_eq!(callbacks.call("arn:other", b"").await, Err(CallbackError::Unknown("arn:other".into())));
        for (question, expected) in [(&b"fail"[..], "status 500"), (b"long", "longer than")] {
            let error = callbacks.call(ARN, question).await.unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(ARN), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_answer_is_given_up_after_five_seconds() {
        let silent = Echo { may_answer: Some(Notify::new()), ..Echo::default() };
        let callbacks = Callbacks::default().with(ARN, Arc::new(silent), 1);
        let began = tokio::time::Instant::now();
        assert_eq!(callbacks.call(ARN, b"").await, Err(CallbackError::TooSlow(ARN.into())));
        assert_eq!(began.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn calls_beyond_the_bound_fail_at_once_and_its_places_come_back() {
        let echo = Arc::new(Echo { may_answer: Some(Notify::new()), ..Echo::default() });
        let callbacks = Callbacks::default().with(ARN, echo.clone(), 1);
        let first = tokio::spawn({
            let callbacks = callbacks.clone();
            async move { callbacks.call(ARN, b"1").await }
        });
        echo.asked.notified().await;
        assert_eq!(callbacks.call(ARN, b"2").await, Err(CallbackError::Busy(ARN.into())));
        echo.may_answer.as_ref().unwrap().notify_one();
        assert_eq!(first.await.unwrap().unwrap(), b"1");
        echo.may_answer.as_ref().unwrap().notify_one();
        assert_eq!(callbacks.call(ARN, b"3").await.unwrap(), b"3");
    }
}

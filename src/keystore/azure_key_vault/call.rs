//! One call of the provider: how long it may take, and what the vault answered last.
//!
//! Retries are azure_core's, which waits as long as the service says and knows nothing of our time;
//! so a call listens in beneath the retries and ends where waiting is of no use.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        Context, Request, StatusCode,
        headers::{HeaderName, Headers, RETRY_AFTER, RETRY_AFTER_MS, X_MS_RETRY_AFTER_MS},
        policies::{Policy, PolicyResult},
    },
};
use tokio::time::Instant;

use super::{AZURE_KEY_VAULT, error::reasons};
use crate::keystore::KeyStoreError;

pub(super) struct Call {
    began: Instant,
    limit: Duration,
    heard: Arc<Heard>,
}

/// Travels in the context of each request.
struct Heard {
    deadline: Instant,
    last: Mutex<Option<Last>>,
}

/// How the last request of a call went.
#[derive(Clone)]
enum Last {
    Answer {
        status: StatusCode,
        retry_after: Option<Duration>,
        at: Instant,
    },
    /// There was no answer, for this reason.
    Failure(String),
}

impl Call {
    pub(super) fn new(limit: Duration) -> Self {
        let began = Instant::now();
        let deadline = later(began, limit);
        Self { began, limit, heard: Arc::new(Heard { deadline, last: Mutex::new(None) }) }
    }

    /// How long the call may take as a whole.
    pub(super) fn time_limit(&self) -> Duration {
        self.limit
    }

    /// Does the work within the time.
    pub(super) async fn limit<T>(
        &self,
        work: impl Future<Output = Result<T, KeyStoreError>>,
    ) -> Result<T, KeyStoreError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(unavailable("there is no tokio runtime to send requests on".into()));
        }
        match tokio::time::timeout_at(self.heard.deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(unavailable(format!(
                "no result within {:?}{}",
                self.limit,
                self.last().map(|last| format!("; {}", last.words())).unwrap_or_default()
            ))),
        }
    }

    /// What each request of the call carries.
    pub(super) fn context(&self) -> Context<'static> {
        self.heard.last().take();
        Context::new().with_value(Arc::clone(&self.heard))
    }

    /// A failure of the kind that passes by itself, if this is one.
    pub(super) fn transient(&self, host: &str, error: &Error) -> Option<KeyStoreError> {
        let status = error.http_status().map_or(0, u16::from);
        let tried = || format!("after {:.1?} of trying", self.began.elapsed());
        match error.kind() {
            ErrorKind::Credential => None,
            ErrorKind::Connection | ErrorKind::Io => {
                Some(unavailable(format!("{host} cannot be reached: {}", reasons(error))))
            }
            // What `Listen` ends a call with says nothing beyond the answer.
            _ if self.last().is_some_and(|last| last.is_overload()) => {
                let words = self.last().map(|last| last.words()).unwrap_or_default();
                Some(unavailable(format!("{host} is busy, {}: {words}", tried())))
            }
            ErrorKind::HttpResponse { .. } if status >= 500 || status == 408 => {
                Some(unavailable(format!("{host} answered {status}, {}", tried())))
            }
            _ => None,
        }
    }

    /// Until when the vault has asked to be left alone, if that is longer than the call may take: a
    /// failure of this call, and of those that end no later.
    pub(super) fn pause(&self) -> Option<Instant> {
        self.last().and_then(|last| last.pause_beyond(self.heard.deadline))
    }

    /// Whether there is time behind that moment.
    pub(super) fn outlasts(&self, moment: Instant) -> bool {
        moment < self.heard.deadline
    }

    fn last(&self) -> Option<Last> {
        self.heard.last().clone()
    }
}

/// A moment after another; one beyond the clock's end is one that nobody sees.
fn later(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or_else(|| from + Duration::from_secs(365 * 24 * 60 * 60))
}

impl Heard {
    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn is_overload(&self) -> bool {
        let Self::Answer { status, .. } = self else { return false };
        matches!(status, StatusCode::TooManyRequests | StatusCode::ServiceUnavailable)
    }

    /// When the service wants to be asked again, if that is not before the deadline.
    fn pause_beyond(&self, deadline: Instant) -> Option<Instant> {
        let Self::Answer { retry_after: Some(after), at, .. } = self else { return None };
        Some(later(*at, *after)).filter(|wake| self.is_overload() && *wake >= deadline)
    }

    fn words(&self) -> String {
        match self {
            Self::Answer { status, retry_after: Some(after), .. } => {
                format!("the last answer was {}, retry after {after:?}", u16::from(*status))
            }
            Self::Answer { status, .. } => format!("the last answer was {}", u16::from(*status)),
            Self::Failure(why) => format!("the vault cannot be reached: {why}"),
        }
    }
}

/// Notes each answer, and ends the retries if the service asks for a pause that the call has no time
/// for.
#[derive(Debug)]
pub(super) struct Listen;

#[async_trait::async_trait]
impl Policy for Listen {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let Some((first, rest)) = next.split_first() else {
            return Err(Error::with_message(ErrorKind::Other, "there is no transport"));
        };
        let outcome = first.send(context, request, rest).await;
        let Some(heard) = context.value::<Arc<Heard>>() else { return outcome };
        let response = match outcome {
            Ok(response) => response,
            Err(error) => {
                *heard.last() = Some(Last::Failure(reasons(&error)));
                return Err(error);
            }
        };
        let retry_after = retry_after(response.headers());
        let answer = Last::Answer { status: response.status(), retry_after, at: Instant::now() };
        let too_long = answer.pause_beyond(heard.deadline).is_some();
        *heard.last() = Some(answer);
        if too_long {
            return Err(Error::with_message(
                ErrorKind::Other,
                "the service asks for a longer pause",
            ));
        }
        Ok(response)
    }
}

/// In the order in which azure_core looks; a date is left to it.
fn retry_after(headers: &Headers) -> Option<Duration> {
    let number = |name: &HeaderName| {
        headers.get_optional_str(name).and_then(|value| value.trim().parse::<u64>().ok())
    };
    number(&X_MS_RETRY_AFTER_MS)
        .or_else(|| number(&RETRY_AFTER_MS))
        .map(Duration::from_millis)
        .or_else(|| number(&RETRY_AFTER).map(Duration::from_secs))
}

fn unavailable(message: String) -> KeyStoreError {
    KeyStoreError::Unavailable { provider: AZURE_KEY_VAULT.into(), message }
}

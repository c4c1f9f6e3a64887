//! What a stage answers when it fails, and what is told about the item.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::failure::{Class, Failure};

/// Any error that can travel between threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the work of a stage answers: `Ok(value)` goes on to the next stage.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// An error of a stage, and whether another try can help.
///
/// Every error becomes one by `?`, strings and `anyhow::Error` too. Such an
/// error is tried again if its stage [retries](super::Pipeline::retry), except a
/// [`Failure`] for which only [`Class::Temporary`] is worth another try.
pub struct Error {
    source: BoxError,
    again: Again,
}

/// Whether another try can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Another try may help.
    Yes,
    /// Another try may help, but not before this time has passed.
    After(Duration),
    /// Every try would give the same answer.
    No,
}

/// One item that did not come out at the end, and why.
#[derive(Debug)]
pub struct ItemError {
    /// Which item of the source, counted from 0.
    pub number: u64,
    /// The stage it got to; `None` if it had not entered one.
    pub stage: Option<Arc<str>>,
    /// Tries of that stage.
    pub attempts: u32,
    /// Why it ended there.
    pub cause: Cause,
}

/// Why an item did not come out at the end.
#[derive(Debug)]
pub enum Cause {
    /// The stage answered with an error, and no more tries were allowed.
    Error(BoxError),
    /// The stage panicked with this message.
    Panic(String),
    /// The run was stopped before any work was done on the item.
    NotStarted,
    /// The run was aborted while the item was on its way.
    Aborted,
}

impl Error {
    /// An error that every other try would give again.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self { source: source.into(), again: Again::No }
    }

    /// An error that may go away, but not before `wait` has passed, as a server's `Retry-After` says.
    pub fn retry_after(source: impl Into<BoxError>, wait: Duration) -> Self {
        Self { source: source.into(), again: Again::After(wait) }
    }

    /// Whether another try can help.
    pub fn again(&self) -> Again {
        self.again
    }

    /// The error itself.
    pub fn source(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.source
    }

    /// The error itself.
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

impl<E: Into<BoxError>> From<E> for Error {
    fn from(error: E) -> Self {
        let source = error.into();
        let again = match source.downcast_ref::<Failure>() {
            Some(failure) if failure.class != Class::Temporary => Again::No,
            _ => Again::Yes,
        };
        Self { source, again }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl Cause {
    /// Whether the stop or abort of the run, and not the item itself, is the cause.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::NotStarted | Self::Aborted)
    }

    pub(super) fn panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panic(text.unwrap_or_else(|| "no message".into()))
    }
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}", self.number)?;
        if let Some(stage) = &self.stage {
            write!(f, " in `{stage}`")?;
        }
        match &self.cause {
            Cause::Error(_) if self.attempts > 1 => write!(f, " failed {} times", self.attempts),
            Cause::Error(_) => f.write_str(" failed"),
            Cause::Panic(message) => write!(f, " panicked: {message}"),
            Cause::NotStarted => f.write_str(" was not started"),
            Cause::Aborted => f.write_str(" was aborted"),
        }
    }
}

impl std::error::Error for ItemError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Error(source) => Some(&**source),
            _ => None,
        }
    }
}

use std::time::Duration;

use crate::CallError;

/// How a call ended, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered<T> {
    /// The answer, or why there is none.
    pub answer: Result<T, CallError>,
    /// What the call took, however it ended.
    pub stats: CallStats,
}

/// What a call took. All zero for a call that got no slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallStats {
    /// From the instantiation to the end, not counting the wait for a slot.
    pub took: Duration,
    /// How much of it the guest waited for the host.
    pub waited: Duration,
    /// The most linear memory that it held, all its memories together.
    pub memory_bytes: u64,
}

impl<T> Answered<T> {
    /// A call that never began.
    pub(crate) fn not_asked(error: CallError) -> Self {
        Answered { answer: Err(error), stats: CallStats::default() }
    }
}

//! The three guards that coordination rests on, by name, so that tests can take each away and see that it was needed.

/// What a test may take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A commit under a lost epoch fails.
    Fence,
    /// What a backfill has read of the source does not apply after it.
    CutOff,
    /// What came later waits for what was parked.
    Barrier,
}

/// Whether a guard is in force: always, outside of this crate's own tests.
#[cfg(not(test))]
pub(crate) const fn is_on(_guard: Guard) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Guard>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn is_on(guard: Guard) -> bool {
    OFF.get() != Some(guard)
}

/// Takes a guard away on this thread.
#[cfg(test)]
pub(crate) fn turn_off(guard: Option<Guard>) {
    OFF.set(guard);
}

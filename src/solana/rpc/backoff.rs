//! How long an endpoint that asked for a pause is left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The first pause. It doubles with each refusal in a row.
const FIRST: Duration = Duration::from_millis(500);

/// The longest pause, also where the endpoint asks for a longer one.
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    refusals: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// The rest of the pause.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let rest = self.state().until?.saturating_duration_since(now);
        (!rest.is_zero()).then_some(rest)
    }

    /// Notes a refusal, and returns the pause that follows. `asked` is the pause that the endpoint asks for.
    pub(super) fn refused(&self, asked: Option<Duration>, now: Instant) -> Duration {
        let mut state = self.state();
        let wait = pause(state.refusals, asked);
        state.refusals = state.refusals.saturating_add(1);
        state.until = Some(now + wait);
        wait
    }

    /// Notes an answer.
    pub(super) fn answered(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(refusals: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(refusals));
    asked.unwrap_or_default().max(doubled).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_is_at_least_what_the_endpoint_asks_for_and_has_a_bound() {
        assert_eq!([0, 1, 2].map(|refusals| pause(refusals, None).as_millis()), [500, 1_000, 2_000]);
        assert_eq!(pause(0, Some(Duration::from_secs(7))).as_secs(), 7);
        assert_eq!(pause(4, Some(Duration::from_secs(7))).as_secs(), 8);
        assert_eq!(pause(u32::MAX, Some(Duration::MAX)), LONGEST);
    }

    #[test]
    fn an_endpoint_is_called_again_after_its_pause_and_an_answer_ends_the_growth() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        assert_eq!(backoff.wait(now), None);
        backoff.refused(None, now);
        backoff.refused(None, now);
        assert_eq!(backoff.wait(now), Some(Duration::from_secs(1)));
        assert_eq!(backoff.wait(now + Duration::from_secs(1)), None);
        backoff.answered();
        assert_eq!(backoff.refused(None, now), FIRST);
    }
}

//! What happens on one connection, and whether its client misuses it. Pure: the time and the unread input are arguments.

use std::time::{Duration, Instant};

/// A request within this time after the last answer counts as sent without waiting for that answer.
const RAPID: Duration = Duration::from_micros(200);

/// More such requests in a row end the connection. A fast client on the same machine can reach this too: it reconnects.
const MAX_RAPID_REQUESTS: u32 = 64;

/// More unread bytes than any request has: a server thread that reads a request late does not look like a flood.
const MAX_UNREAD: u64 = 96 * 1024;

/// How many checks in a row must find too many unread bytes.
const FLOODED_CHECKS: u32 = 2;

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    phase: Phase,
    // When the connection was opened, or a request last began or was answered.
    last_sign: Instant,
    last_answer: Option<Instant>,
    // Requests in a row that each came within `RAPID` after the answer before.
    rapid_requests: u32,
    // Checks in a row that found more than `MAX_UNREAD`.
    flooded_checks: u32,
    // A chunked body is under way: its length is unknown and its end was not seen.
    is_body_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request is under way.
    Idle,
    /// A request waits for its answer.
    Busy,
    /// It is a WebSocket now, which its session watches, or it is shut.
    Unwatched,
}

impl Activity {
    /// A connection that was opened at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Idle,
            last_sign: now,
            last_answer: None,
            rapid_requests: 0,
            flooded_checks: 0,
            is_body_open: false,
        }
    }

    /// A request begins.
    pub(super) fn begin_request(&mut self, now: Instant, has_open_body: bool) {
        let is_rapid = self.last_answer.is_some_and(|answer| now.saturating_duration_since(answer) < RAPID);
        self.rapid_requests = if is_rapid { self.rapid_requests + 1 } else { 0 };
        self.is_body_open |= has_open_body;
        self.phase = Phase::Busy;
        self.last_sign = now;
    }

    /// The end of a chunked body was seen.
    pub(super) fn end_body(&mut self) {
        self.is_body_open = false;
    }

    /// Whether a chunked body is under way.
    pub(super) fn is_body_open(&self) -> bool {
        self.is_body_open
    }

    /// A request is answered. Returns whether this must be the last answer on the connection.
    ///
    /// It is for a client that does not wait for its answers, and for a client whose chunked body goes on after the answer:
    /// the server would read, and answer into memory, for as long as the client likes.
    pub(super) fn end_request(&mut self, now: Instant) -> bool {
        self.phase = Phase::Idle;
        (self.last_answer, self.last_sign) = (Some(now), now);
        self.rapid_requests > MAX_RAPID_REQUESTS || std::mem::take(&mut self.is_body_open)
    }

    /// No watchdog watches this connection any more.
    pub(super) fn stop_watching(&mut self) {
        self.phase = Phase::Unwatched;
    }

    /// When the connection became idle; `None` if it is not.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.phase == Phase::Idle).then_some(self.last_sign)
    }

    /// Whether there was no sign of life for longer than `timeout`.
    pub(super) fn is_stalled(&self, now: Instant, timeout: Duration) -> bool {
        self.phase != Phase::Unwatched && now.saturating_duration_since(self.last_sign) > timeout
    }

    /// Whether two checks in a row find that the client sends more than the server reads, while a request waits for its
    /// answer. The server would hold megabytes of further requests and use all its time on them.
    ///
    /// `unread` is a system call, and is called only for a connection on which a request waits.
    pub(super) fn is_flooded(&mut self, unread: impl FnOnce() -> u64) -> bool {
        let has_too_much = self.phase == Phase::Busy && !self.is_body_open && unread() > MAX_UNREAD;
        self.flooded_checks = if has_too_much { self.flooded_checks + 1 } else { 0 };
        self.flooded_checks >= FLOODED_CHECKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(1);

    #[test]
    fn a_client_that_does_not_wait_for_its_answers_gets_a_last_one() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        let answers = (0..100).take_while(|_| {
            activity.begin_request(now, false);
            !activity.end_request(now)
        });
        assert_eq!(answers.count(), 65);
    }

    #[test]
    fn a_client_that_waits_is_answered_without_end() {
        let mut now = Instant::now();
        let mut activity = Activity::new(now);
        for request in 0..10_000 {
            activity.begin_request(now, false);
            assert!(!activity.end_request(now));
            // It is rapid most of the time.
            now += if request % 50 == 0 { RAPID } else { Duration::ZERO };
        }
    }

    #[test]
    fn an_answer_before_the_end_of_a_chunked_body_is_the_last_one() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        activity.begin_request(now, true);
        activity.end_body();
        assert!(!activity.end_request(now));
        activity.begin_request(now + PAUSE, true);
        assert!(activity.end_request(now + PAUSE));
    }

    #[test]
    fn a_connection_without_a_sign_of_life_is_stalled_in_any_phase_that_is_watched() {
        let (opened, timeout) = (Instant::now(), 10 * PAUSE);
        let mut activity = Activity::new(opened);
        assert!(!activity.is_stalled(opened + timeout, timeout));
        assert!(activity.is_stalled(opened + timeout + PAUSE, timeout));
        let begun = opened + timeout;
        activity.begin_request(begun, false);
        assert!(!activity.is_stalled(begun + timeout, timeout));
        assert!(activity.is_stalled(begun + timeout + PAUSE, timeout));
        activity.stop_watching();
        assert!(!activity.is_stalled(begun + 100 * timeout, timeout));
    }

    #[test]
    fn only_a_connection_without_a_request_is_idle() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        assert_eq!(activity.idle_since(), Some(now));
        activity.begin_request(now, false);
        assert_eq!(activity.idle_since(), None);
        activity.end_request(now + PAUSE);
        assert_eq!(activity.idle_since(), Some(now + PAUSE));
        activity.stop_watching();
        assert_eq!(activity.idle_since(), None);
    }

    #[test]
    fn only_a_waiting_client_with_too_much_unread_input_twice_in_a_row_is_a_flood() {
        let now = Instant::now();
        let mut activity = Activity::new(now);
        let (much, little) = (|| MAX_UNREAD + 1, || MAX_UNREAD);
        assert!(!activity.is_flooded(|| unreachable!("an idle connection is not asked")));
        activity.begin_request(now, false);
        assert_eq!([activity.is_flooded(much), activity.is_flooded(little)], [false, false]);
        assert_eq!([activity.is_flooded(much), activity.is_flooded(much)], [false, true]);
        activity.end_request(now);
        activity.begin_request(now, true);
        assert!(!activity.is_flooded(|| unreachable!("nor one with a body under way")));
    }
}

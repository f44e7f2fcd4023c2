//! The rate limit of each client, so that one client cannot use up the engine's capacity.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::config::LimitSettings;
use crate::http::server::client::Client;

/// Limits the requests of each client, with a token bucket for each of a bounded number of clients.
pub(super) struct Limiter<C: Clock = MonotonicClock> {
    buckets: RateLimiter<Client, Buckets, C, StateInformationMiddleware>,
    quota: Quota,
    last_sweep: Mutex<C::Instant>,
}

/// How many requests a client has left, or how long it must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientLimits {
    max: u32,
    left: u32,
    /// Until the bucket is full again; with nothing left, until the next request is admitted.
    wait: Duration,
    /// How long an empty bucket takes to be full.
    fill_time: Duration,
}

impl Limiter {
    /// A limiter with those settings; `None` if they set no limit.
    pub(super) fn new(settings: &LimitSettings) -> Option<Self> {
        Self::with_clock(settings, MonotonicClock)
    }
}

impl<C: Clock> Limiter<C> {
    /// How many clients have a bucket of their own; they take about 10 MiB.
    const MAX_CLIENTS: usize = 100_000;
    /// Full buckets are removed at most this often.
    const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

    fn with_clock(settings: &LimitSettings, clock: C) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(settings.requests_per_second)?;
        let burst = NonZeroU32::new(settings.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval)?.allow_burst(burst);
        let last_sweep = Mutex::new(clock.now());
        let buckets = RateLimiter::new(quota, Buckets::default(), clock);
        Some(Self { buckets, quota, last_sweep })
    }

    /// Counts one request; the error is for a client that has none left.
    pub(super) fn admit(&self, client: Client) -> Result<ClientLimits, ClientLimits> {
        if self.buckets.len() >= Self::MAX_CLIENTS {
            self.sweep();
        }
        let (max, fill_time) = (self.quota.burst_size().get(), self.quota.burst_size_replenished_in());
        match self.buckets.check_key(&client) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let wait = self.quota.replenish_interval() * (max - left);
                Ok(ClientLimits { max, left, wait, fill_time })
            }
            Err(until) => {
                let wait = until.wait_time_from(self.buckets.clock().now());
                Err(ClientLimits { max, left: 0, wait, fill_time })
            }
        }
    }

    fn sweep(&self) {
        let now = self.buckets.clock().now();
        let mut last_sweep = self.last_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        if Duration::from(governor::clock::Reference::duration_since(&now, *last_sweep)) >= Self::SWEEP_INTERVAL {
            *last_sweep = now;
            self.buckets.retain_recent();
        }
    }
}

impl ClientLimits {
    /// The wait in whole seconds, rounded up, at least one.
    pub(super) fn seconds(&self) -> u32 {
        whole_seconds(self.wait)
    }

    /// Adds the `RateLimit` headers to a response.
    pub(super) fn write_to(&self, headers: &mut HeaderMap) {
        const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
        const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
        let policy = format!("\"requests\";q={};w={}", self.max, whole_seconds(self.fill_time));
        let limit = format!("\"requests\";r={};t={}", self.left, self.seconds());
        for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
            headers.insert(name, HeaderValue::try_from(value).expect("digits and letters"));
        }
    }
}

fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

/// When each client's bucket is full again. Clients without a bucket of their own share one.
#[derive(Debug, Default)]
struct Buckets(Mutex<HashMap<Client, Nanos>>);

impl Buckets {
    fn open(&self) -> MutexGuard<'_, HashMap<Client, Nanos>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Buckets {
    type Key = Client;

    fn measure_and_replace<T, F, E>(&self, client: &Client, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut buckets = self.open();
        let has_room = buckets.len() < Limiter::<MonotonicClock>::MAX_CLIENTS || buckets.contains_key(client);
        let client = if has_room { *client } else { Client::Others };
        let (outcome, next) = measure(buckets.get(&client).copied())?;
        buckets.insert(client, next);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Client> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        self.open().retain(|_, next| *next > drop_below);
    }

    fn len(&self) -> usize {
        self.open().len()
    }

    fn is_empty(&self) -> bool {
        self.open().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(requests_per_second: u32, burst: u32) -> Limiter<FakeRelativeClock> {
        let settings = LimitSettings { requests_per_second, burst, connections: 1, loopback: false };
        Limiter::with_clock(&settings, FakeRelativeClock::default()).unwrap()
    }

    fn client(address: &str) -> Client {
        Client::at(address.parse().unwrap())
    }

    #[test]
    fn a_client_has_a_burst_and_then_its_rate_and_other_clients_are_not_affected() {
        let limiter = limiter(10, 3);
        let (one, other) = (client("10.0.0.1"), client("10.0.0.2"));
        let left: Vec<_> = (0..3).map(|_| limiter.admit(one).unwrap().left).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = limiter.admit(one).unwrap_err();
        assert_eq!((refused.left, refused.wait), (0, Duration::from_millis(100)));
        assert!(limiter.admit(other).is_ok());
        limiter.buckets.clock().advance(Duration::from_millis(100));
        assert!(limiter.admit(one).is_ok());
        assert!(limiter.admit(one).is_err());
    }

    #[test]
    fn the_headers_report_what_is_left() {
        let mut headers = HeaderMap::new();
        limiter(10, 30).admit(client("10.0.0.1")).unwrap().write_to(&mut headers);
        assert_eq!(headers.get("ratelimit-policy").unwrap(), "\"requests\";q=30;w=3");
        assert_eq!(headers.get("ratelimit").unwrap(), "\"requests\";r=29;t=1");
    }

    #[test]
    fn loopback_addresses_are_not_limited_and_zero_means_no_limit() {
        let settings = LimitSettings { requests_per_second: 0, burst: 1, connections: 1, loopback: false };
        for (address, covered) in
            [("127.0.0.1", false), ("::1", false), ("::ffff:127.0.0.2", false), ("10.0.0.1", true)]
        {
            assert_eq!(settings.cover(address.parse().unwrap()), covered, "{address}");
        }
        assert!(Limiter::new(&settings).is_none());
    }

    #[test]
    fn the_number_of_buckets_is_bounded_and_full_ones_are_removed() {
        const MAX: usize = Limiter::<FakeRelativeClock>::MAX_CLIENTS;
        let limiter = limiter(1, 1);
        let nth = |number: usize| Client::at(Ipv6Addr::from((number as u128 + 1) << 64).into());
        for number in 0..MAX {
            assert!(limiter.admit(nth(number)).is_ok());
        }
        assert!(limiter.admit(nth(MAX)).is_ok(), "the first client without a bucket of its own");
        assert!(limiter.admit(nth(MAX + 1)).is_err(), "these clients share one bucket");
        assert!(limiter.admit(nth(0)).is_err(), "the others keep theirs");
        assert_eq!(limiter.buckets.len(), MAX + 1);
        limiter.buckets.clock().advance(Duration::from_secs(5));
        assert!(limiter.admit(nth(MAX + 2)).is_ok());
        assert!(limiter.buckets.len() < 10);
    }
}

//! How often one client may ask, so that nobody takes the engine from the others.

use std::collections::HashMap;
use std::net::IpAddr;
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

use crate::auth::network;
use crate::config::LimitSettings;
use crate::domain::user::UserId;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// A user, wherever.
    User(UserId),
    /// Whoever is in that network.
    Address(IpAddr),
    /// All for whom there is no room of their own.
    Others,
}

impl Client {
    /// The client at an address.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(network(address))
    }
}

/// Says who may ask now. It counts for so many clients at most.
pub(in crate::http) struct Limiter<C: Clock = MonotonicClock> {
    buckets: RateLimiter<Client, Buckets, C, StateInformationMiddleware>,
    quota: Quota,
    swept: Mutex<C::Instant>,
}

/// What a client has left, or how long it has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct ClientLimits {
    most: u32,
    left: u32,
    /// Until all is there again; where nothing is left, until the next request may be made.
    wait: Duration,
    filled_in: Duration,
}

impl Limiter {
    /// The limiter of those settings; `None` where there is no limit.
    pub(in crate::http) fn new(settings: &LimitSettings) -> Option<Self> {
        Self::with_clock(settings, MonotonicClock)
    }
}

impl<C: Clock> Limiter<C> {
    /// So many clients have a count of their own at most; memory for some 10 MiB.
    const MOST_CLIENTS: usize = 100_000;
    /// Counts that are as good as new are looked for this often at most.
    const SWEPT_EVERY: Duration = Duration::from_secs(1);

    fn with_clock(settings: &LimitSettings, clock: C) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(settings.requests_per_second)?;
        let burst = NonZeroU32::new(settings.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval)?.allow_burst(burst);
        let swept = Mutex::new(clock.now());
        let buckets = RateLimiter::new(quota, Buckets::default(), clock);
        Some(Self { buckets, quota, swept })
    }

    /// Lets one request in, or not.
    pub(in crate::http) fn admit(&self, client: Client) -> Result<ClientLimits, ClientLimits> {
        if self.buckets.len() >= Self::MOST_CLIENTS {
            self.sweep();
        }
        let (most, filled_in) = (self.quota.burst_size().get(), self.quota.burst_size_replenished_in());
        match self.buckets.check_key(&client) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let wait = self.quota.replenish_interval() * (most - left);
                Ok(ClientLimits { most, left, wait, filled_in })
            }
            Err(until) => {
                let wait = until.wait_time_from(self.buckets.clock().now());
                Err(ClientLimits { most, left: 0, wait, filled_in })
            }
        }
    }

    fn sweep(&self) {
        let now = self.buckets.clock().now();
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if Duration::from(governor::clock::Reference::duration_since(&now, *swept)) >= Self::SWEPT_EVERY {
            *swept = now;
            self.buckets.retain_recent();
        }
    }
}

impl ClientLimits {
    /// Whole seconds to wait, one at least.
    pub(in crate::http) fn seconds(&self) -> u32 {
        whole_seconds(self.wait)
    }

    /// Says in an answer how much is left.
    pub(in crate::http) fn tell(&self, headers: &mut HeaderMap) {
        const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
        const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
        let policy = format!("\"requests\";q={};w={}", self.most, whole_seconds(self.filled_in));
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

/// When each client's requests will be forgotten. A client for whom there is no room shares its count with others.
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
        let has_room = buckets.len() < Limiter::<MonotonicClock>::MOST_CLIENTS || buckets.contains_key(client);
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
    fn a_client_may_ask_so_often_at_once_and_then_at_the_rate_and_harms_nobody_else() {
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
    fn a_client_is_told_what_is_left_in_headers() {
        let mut headers = HeaderMap::new();
        limiter(10, 30).admit(client("10.0.0.1")).unwrap().tell(&mut headers);
        assert_eq!(headers.get("ratelimit-policy").unwrap(), "\"requests\";q=30;w=3");
        assert_eq!(headers.get("ratelimit").unwrap(), "\"requests\";r=29;t=1");
    }

    #[test]
    fn an_ipv6_line_is_one_client_and_an_ipv4_address_is_the_same_in_both_spellings() {
        assert_eq!(client("2001:db8:1:2::3"), client("2001:db8:1:2:ffff::4"));
        assert_ne!(client("2001:db8:1:2::3"), client("2001:db8:1:3::3"));
        assert_eq!(client("10.0.0.1"), client("::ffff:10.0.0.1"));
    }

    #[test]
    fn this_very_machine_is_not_limited_and_zero_is_no_limit() {
        let settings = LimitSettings { requests_per_second: 0, burst: 1, connections: 1, loopback: false };
        for (address, covered) in
            [("127.0.0.1", false), ("::1", false), ("::ffff:127.0.0.2", false), ("10.0.0.1", true)]
        {
            assert_eq!(settings.cover(address.parse().unwrap()), covered, "{address}");
        }
        assert!(Limiter::new(&settings).is_none());
    }

    #[test]
    fn however_many_clients_come_the_counts_are_bounded_and_old_ones_make_room() {
        const MOST: usize = Limiter::<FakeRelativeClock>::MOST_CLIENTS;
        let limiter = limiter(1, 1);
        let nth = |number: usize| Client::at(Ipv6Addr::from((number as u128 + 1) << 64).into());
        for number in 0..MOST {
            assert!(limiter.admit(nth(number)).is_ok());
        }
        assert!(limiter.admit(nth(MOST)).is_ok(), "the first of those without room");
        assert!(limiter.admit(nth(MOST + 1)).is_err(), "who share one count");
        assert!(limiter.admit(nth(0)).is_err(), "while the others keep theirs");
        assert_eq!(limiter.buckets.len(), MOST + 1);
        limiter.buckets.clock().advance(Duration::from_secs(5));
        assert!(limiter.admit(nth(MOST + 2)).is_ok());
        assert!(limiter.buckets.len() < 10);
    }
}

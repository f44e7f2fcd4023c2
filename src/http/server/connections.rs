//! The open connections. Each client may have a limited number, and a connection on which no request ends is shut.
//!
//! When all connections are in use, a new one takes the place of an idle one: the one that has been idle for longest, of
//! the client with the most connections. If there is none, the new connection is shut.
//!
//! The HTTP server's own deadlines do not cover the head of a second request on the same connection, the rest of a body
//! after its answer, and an answer that the client does not read. So each connection records when a request begins and
//! when it is answered, and a watchdog shuts a connection that has been silent for longer than any honest client needs.
//! A connection that has become a WebSocket is watched by its session (see [`crate::http::ws::sessions`]).

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::config::{LimitSettings, ServerSettings};
use crate::http::server::client::Client;
use crate::http::server::connection::Connection;
use crate::http::server::proxies::Proxies;
use crate::http::server::slots::Slots;
use crate::http::server::socket_handle::SocketHandle;
use crate::telemetry::metrics::Metrics;

/// All open connections.
#[derive(Debug)]
pub(in crate::http) struct Connections {
    // In the order in which they were opened. A lock on this list is taken before any lock of a connection.
    list: Mutex<Vec<Weak<Connection>>>,
    slots: Arc<Slots>,
    shut_count: Arc<AtomicU64>,
    limits: LimitSettings,
    // They have a connection for each of many clients, so no limit for one client applies to them.
    proxies: Proxies,
    max: usize,
    // For one client to which the limits apply.
    max_per_client: usize,
    metrics: Metrics,
}

impl Connections {
    /// At most `max` connections are open at once. A limited client may have half of them, and at most its own limit.
    pub(in crate::http) fn new(limits: LimitSettings, proxies: Proxies, max: usize, metrics: Metrics) -> Arc<Self> {
        let max_per_client = limits.connections.min((max / 2).max(1));
        Arc::new(Self {
            list: Mutex::default(),
            slots: Arc::default(),
            shut_count: Arc::default(),
            limits,
            proxies,
            max,
            max_per_client,
            metrics,
        })
    }

    /// Adds a connection from `address`. It is shut if its client has too many, or if there are too many in total and no
    /// other one gives way.
    pub(in crate::http) fn add(&self, socket: SocketHandle, address: IpAddr) -> Arc<Connection> {
        let client = Client::at(address);
        let mut list = self.list();
        let connection = Arc::new(Connection::new(socket, self.slots.take(client), self.shut_count.clone()));
        let is_limited = self.limits.cover(address) && !self.proxies.trust(address);
        let has_too_many = is_limited && self.slots.of(client) > self.max_per_client;
        let is_full = self.slots.total() > self.max;
        if has_too_many || (is_full && !self.make_room(&list, client)) {
            self.metrics.refused("too_many_connections");
            connection.give_way();
        }
        list.push(Arc::downgrade(&connection));
        connection
    }

    /// Shuts an idle connection of the client with the most connections, unless it has fewer than the new client. Returns
    /// whether there was one.
    fn make_room(&self, list: &[Weak<Connection>], new_client: Client) -> bool {
        let own_count = self.slots.of(new_client);
        let idle = list.iter().filter_map(Weak::upgrade).filter_map(|connection| {
            let (since, count) = (connection.idle_since()?, self.slots.of(connection.client()));
            (connection.client() == new_client || count > own_count).then_some((count, Reverse(since), connection))
        });
        let gives_way = idle.max_by_key(|(count, since, _)| (*count, *since));
        if let Some((_, _, connection)) = &gives_way {
            connection.give_way();
        }
        gives_way.is_some()
    }

    /// How many are open.
    pub(in crate::http) fn len(&self) -> usize {
        self.list().iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// How many were shut since the start.
    pub(in crate::http) fn shut(&self) -> u64 {
        self.shut_count.load(Ordering::Relaxed)
    }

    /// Shuts each connection that was silent for longer than `timeout`, and returns how many they were.
    fn shut_stalled(&self, now: Instant, timeout: Duration) -> usize {
        self.list().retain(|connection| connection.strong_count() > 0);
        self.each().iter().filter(|connection| connection.shut_if_stalled(now, timeout)).count()
    }

    /// Resets each connection whose client sends more than the server reads.
    fn reset_flooded(&self) {
        self.each().iter().for_each(|connection| connection.reset_if_flooded());
    }

    /// The open connections, without the lock on the list.
    fn each(&self) -> Vec<Arc<Connection>> {
        self.list().iter().filter_map(Weak::upgrade).collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest silence of an honest client: idle, then a head, a body, and the answer.
pub(in crate::http) fn max_silence(settings: &ServerSettings) -> Duration {
    settings.idle_timeout() + settings.head_timeout + settings.body_timeout + settings.request_timeout
}

/// Shuts connections that are silent for longer than `timeout`, until the connections are dropped.
pub(in crate::http) async fn watch_stalled(connections: Weak<Connections>, timeout: Duration) {
    let mut tick = tokio::time::interval((timeout / 15).clamp(Duration::from_millis(100), Duration::from_secs(1)));
    loop {
        tick.tick().await;
        let Some(connections) = connections.upgrade() else { return };
        let shut = connections.shut_stalled(Instant::now(), timeout);
        if shut > 0 {
            tracing::info!(connections = shut, "stalled connections are shut");
        }
    }
}

/// Resets connections whose clients send more than the server reads, until the connections are dropped.
pub(in crate::http) async fn watch_floods(connections: Weak<Connections>) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        let Some(connections) = connections.upgrade() else { return };
        connections.reset_flooded();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Settings;

    fn no_proxies() -> Proxies {
        Proxies::new(&Settings::with::<String, String>([]).unwrap().server)
    }

    fn connections(limit: usize) -> Arc<Connections> {
        let limits = LimitSettings { requests_per_second: 0, burst: 1, connections: limit, loopback: true };
        Connections::new(limits, no_proxies(), 2 * limit, Metrics::default())
    }

    fn open(connections: &Arc<Connections>, listener: &TcpListener) -> (TcpStream, Arc<Connection>) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, address) = listener.accept().unwrap();
        (client, connections.add(SocketHandle::new(server.into()), address.ip()))
    }

    fn assert_shut(mut client: TcpStream) {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "the client sees the end");
    }

    fn assert_open(mut client: TcpStream) {
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn only_a_connection_without_a_sign_of_life_is_shut_and_closed_ones_are_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connections = connections(100);
        let open = || open(&connections, &listener);
        let ((stalled, _stalled), (websocket, session), closed) = (open(), open(), open());
        drop(closed);
        session.hand_over();
        let (timeout, later) = (Duration::from_secs(60), Instant::now() + Duration::from_secs(61));
        assert_eq!(connections.shut_stalled(Instant::now(), timeout), 0);
        assert_eq!((connections.shut_stalled(later, timeout), connections.shut()), (1, 1));
        assert_eq!(connections.shut_stalled(later, timeout), 0, "it is shut once");
        assert_shut(stalled);
        assert_open(websocket);
        assert_eq!((connections.len(), connections.list().len()), (2, 2));
    }

    #[test]
    fn a_client_with_too_many_connections_loses_the_newest_until_it_has_closed_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connections = connections(2);
        let open = || open(&connections, &listener);
        let ((first, one), (_second, other), (third, too_many)) = (open(), open(), open());
        assert_shut(third);
        assert_open(first);
        drop((other, too_many));
        let (fourth, again) = open();
        assert_open(fourth);
        drop((one, again));
        assert_eq!(connections.slots.total(), 0);
    }

    #[test]
    fn when_all_connections_are_in_use_the_longest_idle_gives_way_and_no_busy_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let limits = LimitSettings { requests_per_second: 0, burst: 1, connections: 1_000, loopback: false };
        let connections = Connections::new(limits, no_proxies(), 3, Metrics::default());
        let open = || open(&connections, &listener);
        let ((busy, working), (idle, _idle), (socket, session)) = (open(), open(), open());
        working.begin_request(false);
        session.hand_over();
        let (newcomer, asking) = open();
        assert_shut(idle);
        assert_open(newcomer.try_clone().unwrap());
        asking.begin_request(false);
        // A connection that is refused and not dropped yet has no slot.
        let refused = [open(), open(), open()];
        assert_eq!(connections.slots.total(), 3);
        let _refused = refused.map(|(client, connection)| {
            assert_shut(client);
            connection
        });
        [busy, socket, newcomer].into_iter().for_each(assert_open);
        drop((working, session, asking, _idle, _refused));
        assert_eq!(connections.slots.total(), 0);
    }

    #[test]
    fn a_client_that_is_limited_never_has_all_connections_and_gives_way_to_others() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let limits = LimitSettings { requests_per_second: 0, burst: 1, connections: 1_000, loopback: true };
        let connections = Connections::new(limits, no_proxies(), 4, Metrics::default());
        let open_from = |last: u8| {
            let client = TcpStream::connect(("127.0.0.1", listener.local_addr().unwrap().port())).unwrap();
            let (server, _) = listener.accept().unwrap();
            (client, connections.add(SocketHandle::new(server.into()), [127, 0, 0, last].into()))
        };
        let mut greedy = vec![open_from(1), open_from(1)];
        let (third, _third) = open_from(1);
        assert_shut(third);
        drop(_third);
        let one = open_from(2);
        let (two, three) = (open_from(3), open_from(4));
        assert_shut(greedy.remove(0).0);
        [greedy.remove(0).0, one.0, two.0, three.0].into_iter().for_each(assert_open);
    }

    #[test]
    fn a_trusted_proxy_may_have_all_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let limits = LimitSettings { requests_per_second: 0, burst: 1, connections: 1, loopback: true };
        let proxies = Proxies::new(&Settings::with([("server.trusted_proxies", "127.0.0.1")]).unwrap().server);
        let connections = Connections::new(limits, proxies, 4, Metrics::default());
        let all: Vec<_> = (0..4).map(|_| open(&connections, &listener)).collect();
        all.into_iter().for_each(|(client, _)| assert_open(client));
    }
}

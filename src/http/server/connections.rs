//! The open connections: a client may have so many, and one on which no request comes to its end is shut from outside.
//!
//! Where all that fit are open, a newcomer takes the place of one on which no request is under way: the one that has been
//! idle for longest, of the client with the most connections. Where there is none, the newcomer is shut at once.
//!
//! The server's own deadlines leave gaps: the head of a second request on the same connection, the rest of a body whose
//! request is answered already, an answer that nobody reads. So each connection leaves a sign of life when a request
//! begins and when it is answered, and a watchdog shuts those that have left none for longer than any honest client
//! needs. A connection that has become a WebSocket is watched over by its session (see [`crate::http::ws::sessions`]).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::config::{LimitSettings, ServerSettings};
use crate::http::middleware::limits::Client;
use crate::http::ws::sessions::SocketHandle;
use crate::telemetry::metrics::Metrics;

/// All open connections.
#[derive(Debug)]
pub(in crate::http) struct Connections {
    epoch: Instant,
    open: Mutex<OpenConnections>,
    shut: AtomicU64,
    limits: LimitSettings,
    // Of all clients together, and of one client that is limited.
    most: usize,
    most_of_one: usize,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct OpenConnections {
    // Those that have not had to make room for another.
    all: usize,
    connections: Vec<Weak<ConnectionState>>,
    // How many each client has.
    of: HashMap<Client, usize>,
}

impl OpenConnections {
    fn count(&mut self, client: Client) -> usize {
        self.all += 1;
        let many = self.of.entry(client).or_default();
        *many += 1;
        *many
    }

    fn discount(&mut self, client: Client) {
        self.all -= 1;
        if let Some(many) = self.of.get_mut(&client) {
            *many -= 1;
            if *many == 0 {
                self.of.remove(&client);
            }
        }
    }
}

/// One connection, kept with it and gone with it.
#[derive(Debug)]
pub(in crate::http) struct ConnectionState {
    socket: SocketHandle,
    seen_ms: AtomicU64,
    is_busy: AtomicBool,
    answered_us: AtomicU64,
    // Requests that followed the answer before them at once.
    in_a_row: AtomicU32,
    // Looks in a row that found it flooded.
    flooded: AtomicU32,
    // A body in pieces is under way, and its end was not seen.
    is_body_open: AtomicBool,
    // False once it has made room for another.
    is_counted: AtomicBool,
    client: Client,
    all: Arc<Connections>,
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        if *self.is_counted.get_mut() {
            self.all.open().discount(self.client);
        }
    }
}

impl ConnectionState {
    const HANDED_OVER: u64 = u64::MAX;
    /// A request within this time of the last answer counts as sent without waiting for that answer. More than
    /// `IN_A_ROW` such requests end the connection. A fast client on the same machine may do the same: it reconnects.
    const AT_ONCE: Duration = Duration::from_micros(200);
    const IN_A_ROW: u32 = 64;
    /// More bytes than a request has: a server thread that reads a request late is not taken for a flood.
    const LEFT_UNREAD: u64 = 96 * 1024;
    /// So long a client has to take an answer that came before the end of its body; as the server gives others.
    const LINGER: Duration = Duration::from_secs(1);

    /// A request begins.
    pub(in crate::http) fn begin(&self) {
        let now = micros(self.all.epoch.elapsed());
        let since = now.saturating_sub(self.answered_us.load(Ordering::Relaxed));
        match since < micros(Self::AT_ONCE) {
            true => drop(self.in_a_row.fetch_add(1, Ordering::Relaxed)),
            false => self.in_a_row.store(0, Ordering::Relaxed),
        }
        self.is_busy.store(true, Ordering::Relaxed);
        self.leave_sign();
    }

    /// A body in pieces begins, of a length that nobody has said.
    pub(in crate::http) fn begin_body(&self) {
        self.is_body_open.store(true, Ordering::Relaxed);
    }

    /// Whether a body in pieces is under way.
    pub(in crate::http) fn is_body_open(&self) -> bool {
        self.is_body_open.load(Ordering::Relaxed)
    }

    /// Its end was seen.
    pub(in crate::http) fn end_body(&self) {
        self.is_body_open.store(false, Ordering::Relaxed);
    }

    /// Whether the client sends bytes just now, or has sent some that were not read yet.
    pub(in crate::http) fn has_input(&self) -> bool {
        self.socket.unread() > 0
    }

    /// Whether this answer is the last one of the connection, which is reset a moment later. It is for a client that does
    /// not wait for its answers, and for one that has more to come of a body in pieces: the server would go on answering
    /// into memory, and reading, for as long as the client likes.
    pub(in crate::http) fn is_over(self: &Arc<Self>) -> bool {
        let is_over =
            self.in_a_row.load(Ordering::Relaxed) > Self::IN_A_ROW || self.is_body_open.swap(false, Ordering::Relaxed);
        if is_over {
            // Weak: the connection's place is free once it is gone by itself.
            let connection = Arc::downgrade(self);
            actix_web::rt::spawn(async move {
                tokio::time::sleep(Self::LINGER).await;
                if let Some(connection) = connection.upgrade() {
                    connection.all.shut.fetch_add(1, Ordering::Relaxed);
                    connection.give_way(&mut connection.all.open());
                    connection.socket.reset();
                }
            });
        }
        is_over
    }

    /// A request is answered.
    pub(in crate::http) fn end(&self) {
        self.answered_us.store(micros(self.all.epoch.elapsed()), Ordering::Relaxed);
        self.leave_sign();
        self.is_busy.store(false, Ordering::Relaxed);
    }

    fn leave_sign(&self) {
        self.seen_ms.store(millis(self.all.epoch.elapsed()), Ordering::Relaxed);
    }

    /// From here on somebody else watches over it.
    pub(in crate::http) fn hand_over(&self) {
        self.seen_ms.store(Self::HANDED_OVER, Ordering::Relaxed);
    }

    /// Shuts it. From here on it is not counted, though it takes a moment to be gone.
    fn give_way(&self, open: &mut OpenConnections) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            open.discount(self.client);
        }
        self.socket.shut();
    }

    /// Whether no request is under way on it, and it has its place still.
    fn is_idle(&self) -> bool {
        let handed_over = self.seen_ms.load(Ordering::Relaxed) == Self::HANDED_OVER;
        !handed_over && !self.is_busy.load(Ordering::Relaxed) && self.is_counted.load(Ordering::Relaxed)
    }

    /// Whether the client has sent more than the server takes in, while a request of it waits for its answer: the rest is
    /// left with the system. Then the server holds megabytes of further requests, and goes round in a circle.
    fn is_flooded(&self) -> bool {
        let is_handed_over = self.seen_ms.load(Ordering::Relaxed) == Self::HANDED_OVER;
        let is_flooded = !is_handed_over
            && self.is_busy.load(Ordering::Relaxed)
            && !self.is_body_open()
            && self.socket.unread() > Self::LEFT_UNREAD;
        match is_flooded {
            true => self.flooded.fetch_add(1, Ordering::Relaxed) >= 1,
            false => {
                self.flooded.store(0, Ordering::Relaxed);
                false
            }
        }
    }

    fn is_stalled(&self, now_ms: u64, patience: Duration) -> bool {
        let seen = self.seen_ms.load(Ordering::Relaxed);
        seen != Self::HANDED_OVER && now_ms.saturating_sub(seen) > millis(patience)
    }
}

impl Connections {
    /// `most` is how many connections may be open at once. A limited client may have half of them, and at most its limit.
    pub(in crate::http) fn new(limits: LimitSettings, most: usize, metrics: Metrics) -> Arc<Self> {
        let most_of_one = limits.connections.min((most / 2).max(1));
        let (open, shut) = (Mutex::default(), AtomicU64::default());
        Arc::new(Self { epoch: Instant::now(), open, shut, limits, most, most_of_one, metrics })
    }

    /// A client has connected; where there are too many connections already, its own or all, it loses this one.
    pub(in crate::http) fn enter(self: &Arc<Self>, socket: SocketHandle, address: IpAddr) -> Arc<ConnectionState> {
        let client = Client::at(address);
        let seen_ms = millis(self.epoch.elapsed()).into();
        let connection = Arc::new(ConnectionState {
            socket,
            seen_ms,
            is_busy: AtomicBool::new(false),
            answered_us: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            flooded: AtomicU32::new(0),
            is_body_open: AtomicBool::new(false),
            is_counted: AtomicBool::new(true),
            client,
            all: self.clone(),
        });
        let mut open = self.open();
        let of_client = open.count(client);
        let is_full = open.all > self.most;
        open.connections.push(Arc::downgrade(&connection));
        drop(open);
        let has_too_many = self.limits.cover(address) && of_client > self.most_of_one;
        if has_too_many || (is_full && !self.make_room(&connection)) {
            self.metrics.refused("too_many_connections");
            connection.give_way(&mut self.open());
        }
        connection
    }

    /// Shuts an idle connection of the client with the most connections, if a newcomer then has no more than that client.
    /// Answers whether there was one.
    fn make_room(&self, newcomer: &Arc<ConnectionState>) -> bool {
        let mut open = self.open();
        let all: Vec<_> = open.connections.iter().filter_map(Weak::upgrade).collect();
        let many = |client| open.of.get(&client).copied().unwrap_or_default();
        let own = many(newcomer.client);
        // The last of equals is taken: the one that came first.
        let gives_way = all
            .iter()
            .rev()
            .filter(|other| !Arc::ptr_eq(other, newcomer) && other.is_idle())
            .filter(|other| other.client == newcomer.client || many(other.client) > own)
            .max_by_key(|other| (many(other.client), Reverse(other.seen_ms.load(Ordering::Relaxed))));
        if let Some(other) = gives_way {
            other.give_way(&mut open);
        }
        let made = gives_way.is_some();
        // The lock is given back first: the last drop of a connection takes it.
        drop(open);
        drop(all);
        made
    }

    /// How many are open.
    pub(in crate::http) fn len(&self) -> usize {
        self.open().connections.iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// How many were shut since the start.
    pub(in crate::http) fn shut(&self) -> u64 {
        self.shut.load(Ordering::Relaxed)
    }

    /// Shuts those on which nothing has come to its end for so long, and says how many they were.
    pub(in crate::http) fn shut_stalled(&self, patience: Duration) -> u64 {
        let connections: Vec<_> = {
            let mut open = self.open();
            open.connections.retain(|connection| connection.strong_count() > 0);
            open.connections.iter().filter_map(Weak::upgrade).collect()
        };
        // The lock is given back: whoever is the last to let go of a connection takes it.
        let (now, mut shut) = (millis(self.epoch.elapsed()), 0);
        for stalled in connections.iter().filter(|connection| connection.is_stalled(now, patience)) {
            shut += 1;
            stalled.socket.shut();
            stalled.hand_over();
        }
        self.shut.fetch_add(shut, Ordering::Relaxed);
        shut
    }

    /// Resets those whose clients send more than is taken in, at the second look.
    fn reset_flooded(&self) {
        let connections: Vec<_> = self.open().connections.iter().filter_map(Weak::upgrade).collect();
        for flooded in connections.iter().filter(|connection| connection.is_flooded()) {
            self.shut.fetch_add(1, Ordering::Relaxed);
            flooded.give_way(&mut self.open());
            flooded.socket.reset();
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest that an honest client may leave no sign: idle, then a head, a body, and the answer.
pub(in crate::http) fn patience(settings: &ServerSettings) -> Duration {
    settings.keep_alive + settings.head_timeout + settings.body_timeout + settings.request_timeout
}

/// Watches over the connections as long as somebody else has them.
pub(in crate::http) async fn watchdog(connections: Weak<Connections>, patience: Duration) {
    let mut tick = tokio::time::interval((patience / 15).clamp(Duration::from_millis(100), Duration::from_secs(1)));
    loop {
        tick.tick().await;
        let Some(connections) = connections.upgrade() else { return };
        let shut = connections.shut_stalled(patience);
        if shut > 0 {
            tracing::info!(connections = shut, "connections on which nothing came to its end are shut");
        }
    }
}

/// Looks for clients that send more than is taken in.
pub(in crate::http) async fn flood_watch(connections: Weak<Connections>) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        let Some(connections) = connections.upgrade() else { return };
        connections.reset_flooded();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connections(limit: usize) -> Arc<Connections> {
        let limits = LimitSettings { requests_per_second: 0, burst: 1, connections: limit, loopback: true };
        Connections::new(limits, 2 * limit, Metrics::default())
    }

    fn open(connections: &Arc<Connections>, listener: &TcpListener) -> (TcpStream, Arc<ConnectionState>) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, address) = listener.accept().unwrap();
        (client, connections.enter(SocketHandle::new(server.into()), address.ip()))
    }

    fn assert_shut(mut client: TcpStream) {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "it hears the end");
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
        let ((stalled, _kept), (lively, life), (session, handed_over), closed) = (open(), open(), open(), open());
        drop(closed);
        handed_over.hand_over();
        let patience = Duration::from_millis(20);
        let begun = Instant::now();
        while begun.elapsed() <= 2 * patience {
            life.leave_sign();
        }
        assert_eq!((connections.shut_stalled(patience), connections.shut()), (1, 1));
        assert_shut(stalled);
        assert_open(lively);
        assert_open(session);
        assert_eq!(connections.len(), 3);
        assert_eq!(connections.open().connections.len(), 3);
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
        assert!(connections.open().of.is_empty());
    }

    #[test]
    fn where_no_more_connections_fit_the_longest_idle_gives_way_and_none_that_is_busy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let limits = LimitSettings { requests_per_second: 0, burst: 1, connections: 1_000, loopback: false };
        let connections = Connections::new(limits, 3, Metrics::default());
        let open = || open(&connections, &listener);
        let ((busy, at_work), (idle, _idle), (socket, session)) = (open(), open(), open());
        at_work.begin();
        session.hand_over();
        let (newcomer, asks) = open();
        assert_shut(idle);
        assert_open(newcomer.try_clone().unwrap());
        asks.begin();
        // Also one that is refused and not yet gone is no place for the next.
        let refused = [open(), open(), open()];
        assert_eq!(connections.open().all, 3);
        let _refused = refused.map(|(client, connection)| {
            assert_shut(client);
            connection
        });
        [busy, socket, newcomer].into_iter().for_each(assert_open);
        drop((at_work, session, asks, _idle, _refused));
        assert_eq!(connections.open().all, 0);
        assert!(connections.open().of.is_empty());
    }

    #[test]
    fn a_client_that_is_limited_never_has_all_connections_and_gives_way_to_others() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let limits = LimitSettings { requests_per_second: 0, burst: 1, connections: 1_000, loopback: true };
        let connections = Connections::new(limits, 4, Metrics::default());
        let open_from = |last: u8| {
            let client = TcpStream::connect(("127.0.0.1", listener.local_addr().unwrap().port())).unwrap();
            let (server, _) = listener.accept().unwrap();
            (client, connections.enter(SocketHandle::new(server.into()), [127, 0, 0, last].into()))
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
}

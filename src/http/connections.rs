//! The open connections: a client may have so many, and one on which no request comes to its end is shut from outside.
//!
//! The server's own deadlines leave gaps: the head of a second request on the same connection, the rest of a body whose
//! request is answered already, an answer that nobody reads. So each connection leaves a sign of life when a request
//! begins and when it is answered, and a watchdog shuts those that have left none for longer than any honest client
//! needs. A connection that has become a WebSocket is watched over by its session (see [`super::sessions`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::limits::Client;
use super::sessions::SocketHandle;
use crate::config::{LimitSettings, ServerSettings};
use crate::metrics::Metrics;

/// All open connections.
#[derive(Debug)]
pub(super) struct Connections {
    epoch: Instant,
    open: Mutex<Open>,
    shut: AtomicU64,
    limits: LimitSettings,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Open {
    connections: Vec<Weak<Connection>>,
    // How many each client has that is limited.
    of: HashMap<Client, usize>,
}

/// One connection, kept with it and gone with it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: SocketHandle,
    seen_ms: AtomicU64,
    // None where nobody counts.
    client: Option<Client>,
    all: Arc<Connections>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut open = self.all.open();
        if let Some(many) = open.of.get_mut(&client) {
            *many -= 1;
            if *many == 0 {
                open.of.remove(&client);
            }
        }
    }
}

impl Connection {
    const HANDED_OVER: u64 = u64::MAX;

    /// A request begins, or is answered.
    pub(super) fn leave_sign(&self) {
        self.seen_ms.store(millis(self.all.epoch.elapsed()), Ordering::Relaxed);
    }

    /// From here on somebody else watches over it.
    pub(super) fn hand_over(&self) {
        self.seen_ms.store(Self::HANDED_OVER, Ordering::Relaxed);
    }

    fn is_stalled(&self, now_ms: u64, patience: Duration) -> bool {
        let seen = self.seen_ms.load(Ordering::Relaxed);
        seen != Self::HANDED_OVER && now_ms.saturating_sub(seen) > millis(patience)
    }
}

impl Connections {
    pub(super) fn new(limits: LimitSettings, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { epoch: Instant::now(), open: Mutex::default(), shut: AtomicU64::default(), limits, metrics })
    }

    /// A client has connected; one that has too many connections already loses this one.
    pub(super) fn enter(self: &Arc<Self>, socket: SocketHandle, address: IpAddr) -> Arc<Connection> {
        let client = self.limits.cover(address).then(|| Client::at(address));
        let seen_ms = millis(self.epoch.elapsed()).into();
        let connection = Arc::new(Connection { socket, seen_ms, client, all: self.clone() });
        let mut open = self.open();
        open.connections.push(Arc::downgrade(&connection));
        if let Some(client) = client {
            let many = open.of.entry(client).or_default();
            *many += 1;
            if *many > self.limits.connections {
                self.metrics.refused("too_many_connections");
                connection.socket.shut();
            }
        }
        connection
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open().connections.iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// How many were shut since the start.
    pub(super) fn shut(&self) -> u64 {
        self.shut.load(Ordering::Relaxed)
    }

    /// Shuts those on which nothing has come to its end for so long, and says how many they were.
    pub(super) fn shut_stalled(&self, patience: Duration) -> u64 {
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

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest that an honest client may leave no sign: idle, then a head, a body, and the answer.
pub(super) fn patience(settings: &ServerSettings) -> Duration {
    settings.keep_alive + settings.head_timeout + settings.body_timeout + settings.request_timeout
}

/// Watches over the connections as long as somebody else has them.
pub(super) async fn watchdog(connections: Weak<Connections>, patience: Duration) {
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
        Connections::new(limits, Metrics::default())
    }

    fn open(connections: &Arc<Connections>, listener: &TcpListener) -> (TcpStream, Arc<Connection>) {
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
}

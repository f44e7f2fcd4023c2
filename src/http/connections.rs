//! The open connections: one on which no request comes to its end is shut from outside.
//!
//! The server's own deadlines leave gaps: the head of a second request on the same connection, the rest of a body whose
//! request is answered already, an answer that nobody reads. So each connection leaves a sign of life when a request
//! begins and when it is answered, and a watchdog shuts those that have left none for longer than any honest client
//! needs. A connection that has become a WebSocket is watched over by its session (see [`super::sessions`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::sessions::SocketHandle;
use crate::config::ServerSettings;

/// All open connections.
#[derive(Debug)]
pub(super) struct Connections {
    epoch: Instant,
    open: Mutex<Vec<Weak<Connection>>>,
    shut: AtomicU64,
}

/// One connection, kept with it and gone with it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: SocketHandle,
    epoch: Instant,
    seen_ms: AtomicU64,
}

impl Connection {
    const HANDED_OVER: u64 = u64::MAX;

    /// A request begins, or is answered.
    pub(super) fn leave_sign(&self) {
        self.seen_ms.store(millis(self.epoch.elapsed()), Ordering::Relaxed);
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
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { epoch: Instant::now(), open: Mutex::default(), shut: AtomicU64::default() })
    }

    /// A client has connected.
    pub(super) fn enter(&self, socket: SocketHandle) -> Arc<Connection> {
        let seen_ms = millis(self.epoch.elapsed()).into();
        let connection = Arc::new(Connection { socket, epoch: self.epoch, seen_ms });
        self.open().push(Arc::downgrade(&connection));
        connection
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open().iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// How many were shut since the start.
    pub(super) fn shut(&self) -> u64 {
        self.shut.load(Ordering::Relaxed)
    }

    /// Shuts those on which nothing has come to its end for so long, and says how many they were.
    pub(super) fn shut_stalled(&self, patience: Duration) -> u64 {
        let (now, mut shut) = (millis(self.epoch.elapsed()), 0);
        self.open().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            if connection.is_stalled(now, patience) {
                shut += 1;
                connection.socket.shut();
                connection.hand_over();
            }
            true
        });
        self.shut.fetch_add(shut, Ordering::Relaxed);
        shut
    }

    fn open(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
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
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_a_connection_without_a_sign_of_life_is_shut_and_closed_ones_are_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connections = Connections::new();
        let open = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            (client, connections.enter(SocketHandle::new(server.into())))
        };
        let ((mut stalled, _kept), (lively, life), (session, handed_over), closed) = (open(), open(), open(), open());
        drop(closed);
        handed_over.hand_over();
        let patience = Duration::from_millis(20);
        let begun = Instant::now();
        while begun.elapsed() <= 2 * patience {
            life.leave_sign();
        }
        assert_eq!((connections.shut_stalled(patience), connections.shut()), (1, 1));
        stalled.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(stalled.read(&mut [0; 8]).unwrap(), 0, "the stalled one hears the end");
        for mut open in [lively, session] {
            open.set_nonblocking(true).unwrap();
            assert_eq!(open.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        }
        assert_eq!(connections.len(), 3);
        assert_eq!(connections.open().len(), 3);
    }
}

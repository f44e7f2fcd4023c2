//! The open sockets: told when the engine stops and when their credential ends, and shut from outside when their client stops reading.
//!
//! A session's actor is polled as the body of its HTTP response. Once the client stops reading and the buffers are full
//! it is not polled any more: its timers stand still, and no timeout of its own can end it. So each session leaves a
//! sign of life here whenever it hears its client, and a watchdog shuts the TCP stream of one that has left none for too
//! long.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::prelude::*;
use socket2::Socket;
use uuid::Uuid;

use crate::auth::Credential;
use crate::http::middleware::limits::Client;

/// Tells a session to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum CloseSocket {
    /// The engine stops.
    Stopping,
    /// What the session was opened with is worth nothing any more.
    SignedOut,
}

/// A second handle of a connection's socket; closed with the connection's last one.
#[derive(Clone, Debug)]
pub struct SocketHandle(Arc<Socket>);

impl SocketHandle {
    pub(in crate::http) fn new(socket: Socket) -> Self {
        Self(Arc::new(socket))
    }

    /// How many bytes of the client wait to be read.
    pub(in crate::http) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&*self.0).unwrap_or_default()
    }

    /// Resets the connection. What the client has sent and nobody has read is dropped: after [`SocketHandle::shut`] it
    /// would stay, and the client would wait for it to be read.
    pub(in crate::http) fn reset(&self) {
        // It may be closed already.
        let _ = rustix::net::connect_unspec(&*self.0);
    }

    /// Ends the connection, whatever its client does.
    pub(in crate::http) fn shut(&self) {
        // It may be closed already; then its session ends by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// When a session last heard its client.
#[derive(Clone, Debug)]
pub struct LastHeard {
    epoch: Instant,
    at_ms: Arc<AtomicU64>,
}

impl LastHeard {
    /// It hears it now.
    pub fn leave(&self) {
        self.at_ms.store(millis(self.epoch.elapsed()), Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(self.at_ms.load(Ordering::Relaxed)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// All open sockets.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<OpenSockets>,
}

#[derive(Debug, Default)]
struct OpenSockets {
    next: u64,
    shut: u64,
    sessions: HashMap<u64, SocketEntry>,
    seats: HashMap<Client, usize>,
}

/// A socket's place among those of its client, until it is dropped.
#[derive(Debug)]
pub struct SocketSlot {
    sessions: Arc<Sessions>,
    client: Client,
}

impl Drop for SocketSlot {
    fn drop(&mut self) {
        let mut open = self.sessions.open();
        if let Some(taken) = open.seats.get_mut(&self.client) {
            *taken -= 1;
            if *taken == 0 {
                open.seats.remove(&self.client);
            }
        }
    }
}

#[derive(Debug)]
struct SocketEntry {
    life: LastHeard,
    socket: Option<SocketHandle>,
    // None where nobody asked who it is.
    credential: Option<Credential>,
    go_away: Recipient<CloseSocket>,
}

impl Sessions {
    /// Enters a session: the key to leave by, and where to leave signs of life.
    pub fn enter(
        &self,
        socket: Option<SocketHandle>,
        credential: Option<Credential>,
        go_away: Recipient<CloseSocket>,
    ) -> (u64, LastHeard) {
        let life = LastHeard { epoch: Instant::now(), at_ms: Arc::default() };
        let mut open = self.open();
        let key = open.next;
        open.next += 1;
        open.sessions.insert(key, SocketEntry { life: life.clone(), socket, credential, go_away });
        (key, life)
    }

    /// A place for one more socket of that client, which may have so many.
    pub fn seat(self: &Arc<Self>, client: Client, most: usize) -> Option<SocketSlot> {
        let mut open = self.open();
        let taken = open.seats.entry(client).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        Some(SocketSlot { sessions: self.clone(), client })
    }

    /// A session is over.
    pub fn leave(&self, key: u64) {
        self.open().sessions.remove(&key);
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open().sessions.len()
    }

    /// How many were shut because their client had stopped reading.
    pub fn shut(&self) -> u64 {
        self.open().shut
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells every session that the engine stops.
    pub fn send_away(&self) {
        for session in self.open().sessions.values() {
            // Full: do_send ignores bounds, one a session. Closed: it is over already.
            session.go_away.do_send(CloseSocket::Stopping);
        }
    }

    /// Tells every session that was opened with that credential, which is revoked.
    pub fn sign_out(&self, credential: Uuid) {
        self.sign_out_where(|opened_with| opened_with.id == credential);
    }

    /// Tells every session whose token has expired.
    fn sign_out_expired(&self, now: Instant) {
        self.sign_out_where(|opened_with| opened_with.has_ended(now));
    }

    fn sign_out_where(&self, is_over: impl Fn(&Credential) -> bool) {
        for session in self.open().sessions.values_mut() {
            if session.credential.as_ref().is_some_and(&is_over) {
                session.credential = None;
                // As above.
                session.go_away.do_send(CloseSocket::SignedOut);
            }
        }
    }

    /// Shuts the streams of sessions that have left no sign of life for so long.
    pub fn shut_stalled(&self, patience: Duration) {
        let mut open = self.open();
        let OpenSockets { sessions, shut, .. } = &mut *open;
        for session in sessions.values_mut().filter(|session| session.life.age() > patience) {
            if let Some(socket) = session.socket.take() {
                *shut += 1;
                tracing::info!("a socket whose client has stopped reading is shut");
                socket.shut();
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenSockets> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches over the sockets for ever: none is silent for longer than that.
pub async fn watchdog(sessions: Arc<Sessions>, patience: Duration) {
    let look = patience / 15;
    let mut tick = tokio::time::interval(look);
    loop {
        tick.tick().await;
        sessions.shut_stalled(patience - look);
        sessions.sign_out_expired(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    struct Deaf;

    impl Actor for Deaf {
        type Context = Context<Self>;
    }

    impl Handler<CloseSocket> for Deaf {
        type Result = ();

        fn handle(&mut self, _: CloseSocket, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn only_a_stalled_session_is_shut_from_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sessions = Sessions::default();
        let mut clients = Vec::new();
        let mut lives = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (server, _) = listener.accept().unwrap();
            let (_, life) = sessions.enter(Some(SocketHandle::new(server.into())), None, Deaf.start().recipient());
            lives.push(life);
        }
        let patience = Duration::from_millis(50);
        while lives[0].age() <= patience {
            lives[1].leave();
            tokio::task::yield_now().await;
        }
        lives[1].leave();
        sessions.shut_stalled(patience);
        clients[0].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(clients[0].read(&mut [0; 8]).unwrap(), 0, "the stalled one hears the end");
        clients[1].set_nonblocking(true).unwrap();
        let open = clients[1].read(&mut [0; 8]).unwrap_err();
        assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock, "the lively one goes on");
    }
}

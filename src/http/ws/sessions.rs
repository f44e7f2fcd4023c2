//! The list of open WebSockets: closes them when the engine stops and when their credential ends, and shuts a socket whose
//! client has stopped reading.
//!
//! A session's actor is polled as the body of its HTTP response. When the client stops reading and the buffers are full,
//! the actor is not polled any more: its timers do not run, and it cannot end itself. So each session records here when it
//! last received a frame, and a watchdog shuts the TCP stream of a session that was silent for too long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::{Auth, Identity};
use crate::http::server::client::Client;
use crate::http::server::slots::{Slot, Slots};
use crate::http::server::socket_handle::SocketHandle;
use actix::prelude::*;

/// Tells a session to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum CloseSocket {
    /// The engine stops.
    Stopping,
    /// The credential that the session was opened with has ended, or allows less than then.
    SignedOut,
}

/// All open WebSockets.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<OpenSessions>,
    slots: Arc<Slots>,
}

#[derive(Debug, Default)]
struct OpenSessions {
    next_key: u64,
    shut_count: u64,
    sessions: HashMap<u64, SessionEntry>,
}

#[derive(Debug)]
struct SessionEntry {
    last_frame: LastFrame,
    socket: Option<SocketHandle>,
    // `None` for an anonymous caller, and once the session was told that its credential has ended.
    identity: Option<Identity>,
    close: Recipient<CloseSocket>,
}

/// A session's entry in the list, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    sessions: Arc<Sessions>,
    key: u64,
    last_frame: LastFrame,
}

/// When a session last received a frame.
#[derive(Clone, Debug)]
struct LastFrame {
    epoch: Instant,
    at_ms: Arc<AtomicU64>,
}

impl Sessions {
    /// Adds a session.
    pub(super) fn add(
        self: &Arc<Self>,
        socket: Option<SocketHandle>,
        identity: Option<Identity>,
        close: Recipient<CloseSocket>,
    ) -> Registration {
        let last_frame = LastFrame { epoch: Instant::now(), at_ms: Arc::default() };
        let mut open = self.open();
        let key = open.next_key;
        open.next_key += 1;
        open.sessions.insert(key, SessionEntry { last_frame: last_frame.clone(), socket, identity, close });
        Registration { sessions: self.clone(), key, last_frame }
    }

    /// Takes a slot for one more socket of that client, if it has fewer than `max`.
    pub(super) fn try_take_slot(&self, client: Client, max: usize) -> Option<Slot> {
        self.slots.try_take(client, max)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open().sessions.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were shut because their client had stopped reading.
    pub fn shut(&self) -> u64 {
        self.open().shut_count
    }

    /// Closes every session, because the engine stops.
    pub fn close_all(&self) {
        for session in self.open().sessions.values() {
            // Full: do_send ignores bounds, and sends one per session. Closed: the session has ended already.
            session.close.do_send(CloseSocket::Stopping);
        }
    }

    /// Closes every session whose credential has ended, or allows less than when it was opened.
    pub fn sign_out_ended(&self, auth: &Auth) {
        for session in self.open().sessions.values_mut() {
            if session.identity.is_some_and(|identity| !auth.holds(&identity)) {
                session.identity = None;
                // Full: do_send ignores bounds, and sends one per session. Closed: the session has ended already.
                session.close.do_send(CloseSocket::SignedOut);
            }
        }
    }

    /// Shuts the TCP streams of sessions that were silent for longer than `timeout`.
    fn shut_stalled(&self, timeout: Duration) {
        let mut open = self.open();
        let OpenSessions { sessions, shut_count, .. } = &mut *open;
        for session in sessions.values_mut().filter(|session| session.last_frame.age() > timeout) {
            if let Some(socket) = session.socket.take() {
                *shut_count += 1;
                tracing::info!("a WebSocket whose client has stopped reading is shut");
                socket.shut();
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenSessions> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// The session has received a frame.
    pub(super) fn frame_received(&self) {
        self.last_frame.set();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.open().sessions.remove(&self.key);
    }
}

impl LastFrame {
    fn set(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now, Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(self.at_ms.load(Ordering::Relaxed)))
    }
}

/// Shuts sessions that are silent for `timeout`, and closes those whose credential has expired. It never ends.
pub async fn watchdog(sessions: Arc<Sessions>, auth: Arc<Auth>, timeout: Duration) {
    let period = timeout / 15;
    let mut tick = tokio::time::interval(period);
    loop {
        tick.tick().await;
        sessions.shut_stalled(timeout - period);
        sessions.sign_out_ended(&auth);
    }
}

/// Learns which accounts another process has changed, and closes the sessions that end by that. It never ends.
pub async fn follow_accounts(sessions: Arc<Sessions>, auth: Arc<Auth>) {
    /// A disabled user is signed out within a second.
    const INTERVAL: Duration = Duration::from_millis(500);
    loop {
        // The next question waits for the answer to this one, which has a deadline.
        tokio::time::sleep(INTERVAL).await;
        if auth.learn_changes().await {
            sessions.sign_out_ended(&auth);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    struct Ignore;

    impl Actor for Ignore {
        type Context = Context<Self>;
    }

    impl Handler<CloseSocket> for Ignore {
        type Result = ();

        fn handle(&mut self, _: CloseSocket, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn only_a_stalled_session_is_shut_from_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sessions = Arc::new(Sessions::default());
        let mut clients = Vec::new();
        let mut registrations = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (server, _) = listener.accept().unwrap();
            let socket = SocketHandle::new(server.into());
            registrations.push(sessions.add(Some(socket), None, Ignore.start().recipient()));
        }
        let timeout = Duration::from_millis(50);
        while registrations[0].last_frame.age() <= timeout {
            registrations[1].frame_received();
            tokio::task::yield_now().await;
        }
        registrations[1].frame_received();
        sessions.shut_stalled(timeout);
        assert_eq!((sessions.shut(), sessions.len()), (1, 2));
        clients[0].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(clients[0].read(&mut [0; 8]).unwrap(), 0, "the stalled client sees the end");
        clients[1].set_nonblocking(true).unwrap();
        let open = clients[1].read(&mut [0; 8]).unwrap_err();
        assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock, "the other connection is open");
        drop(registrations);
        assert!(sessions.is_empty());
    }
}

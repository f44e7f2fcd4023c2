//! One TCP connection: what its requests do, and how it is ended from outside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::http::server::activity::Activity;
use crate::http::server::client::Client;
use crate::http::server::slots::Slot;
use crate::http::server::socket_handle::SocketHandle;

/// How long a client may take to read an answer that came before the end of its body, until the connection is reset. The
/// HTTP server gives other answers the same time.
const LINGER: Duration = Duration::from_secs(1);

/// The state of one connection. The connection owns it, so both are dropped together.
#[derive(Debug)]
pub(in crate::http) struct Connection {
    socket: SocketHandle,
    client: Client,
    activity: Mutex<Activity>,
    // `None` once the connection has given way to another one.
    slot: Mutex<Option<Slot>>,
    // How many connections were shut, of all.
    shut_count: Arc<AtomicU64>,
}

impl Connection {
    pub(super) fn new(socket: SocketHandle, slot: Slot, shut_count: Arc<AtomicU64>) -> Self {
        let (client, activity) = (slot.client(), Mutex::new(Activity::new(Instant::now())));
        Self { socket, client, activity, slot: Mutex::new(Some(slot)), shut_count }
    }

    /// A request begins. Its body is open if it is chunked: then only its end tells its length.
    pub(in crate::http) fn begin_request(&self, has_open_body: bool) {
        self.activity().begin_request(Instant::now(), has_open_body);
    }

    /// A request is answered. Returns whether this is the last answer: then the connection is reset after a moment.
    pub(in crate::http) fn end_request(self: &Arc<Self>) -> bool {
        let is_last = self.activity().end_request(Instant::now());
        if is_last {
            // Weak: the slot is free as soon as the connection ends by itself.
            let connection = Arc::downgrade(self);
            actix_web::rt::spawn(async move {
                tokio::time::sleep(LINGER).await;
                if let Some(connection) = connection.upgrade() {
                    connection.reset();
                }
            });
        }
        is_last
    }

    /// The end of the body was seen.
    pub(in crate::http) fn end_body(&self) {
        self.activity().end_body();
    }

    /// Whether a chunked body is under way.
    pub(in crate::http) fn is_body_open(&self) -> bool {
        self.activity().is_body_open()
    }

    /// Whether bytes of the client have arrived that are not read yet.
    pub(in crate::http) fn has_input(&self) -> bool {
        self.socket.unread() > 0
    }

    /// The connection is a WebSocket now, which its session watches.
    pub(in crate::http) fn hand_over(&self) {
        self.activity().stop_watching();
    }

    pub(super) fn client(&self) -> Client {
        self.client
    }

    /// When the connection became idle; `None` if a request is under way, or if it has given way already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let since = self.activity().idle_since();
        since.filter(|_| self.slot().is_some())
    }

    /// Shuts the connection. Its slot is free at once, although the server takes a moment to drop the connection.
    pub(super) fn give_way(&self) {
        let slot = self.slot().take();
        drop(slot);
        self.socket.shut();
    }

    /// Shuts the connection if it was silent for longer than `timeout`, and returns whether it was.
    pub(super) fn shut_if_stalled(&self, now: Instant, timeout: Duration) -> bool {
        let mut activity = self.activity();
        let is_stalled = activity.is_stalled(now, timeout);
        if is_stalled {
            activity.stop_watching();
            self.socket.shut();
            self.count_shut();
        }
        is_stalled
    }

    /// Resets the connection if its client sends more than the server reads.
    pub(super) fn reset_if_flooded(&self) {
        let is_flooded = self.activity().is_flooded(|| self.socket.unread());
        if is_flooded {
            self.reset();
        }
    }

    fn reset(&self) {
        self.count_shut();
        self.give_way();
        self.socket.reset();
    }

    fn count_shut(&self) {
        self.shut_count.fetch_add(1, Ordering::Relaxed);
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Slot>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

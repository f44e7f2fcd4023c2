//! A second handle of a connection's TCP socket, with which a watchdog ends the connection from outside.

use std::net::Shutdown;
use std::sync::Arc;

use socket2::Socket;

/// The handle; the file descriptor is closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct SocketHandle(Arc<Socket>);

impl SocketHandle {
    pub(in crate::http) fn new(socket: Socket) -> Self {
        Self(Arc::new(socket))
    }

    /// How many bytes have arrived and are not read yet.
    pub(in crate::http) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(&*self.0).unwrap_or_default()
    }

    /// Resets the connection and drops the unread input. After [`SocketHandle::shut`] that input would stay in the
    /// kernel, and the client would wait for it to be read.
    pub(in crate::http) fn reset(&self) {
        // Fails if the connection is closed already.
        let _ = rustix::net::connect_unspec(&*self.0);
    }

    /// Ends the connection in both directions, also where the client has stopped reading.
    pub(in crate::http) fn shut(&self) {
        // Fails if the connection is closed already; then its session ends by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

//! The addresses that the server listens at.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Socket, Type};

use crate::config::{ListenHost, ListenPlace, Settings};

/// Bound listeners. Clients can connect already; they wait until the server starts.
pub struct Listeners {
    /// At least one.
    pub(super) clients: Vec<Listener>,
    /// Empty if the operator's routes are served with all others.
    pub(super) operator: Vec<Listener>,
}

pub(super) type Listener = (TcpListener, SocketAddr);

impl Listeners {
    /// Binds the addresses of the settings, or returns the address that failed.
    pub fn bind(settings: &Settings) -> Result<Self, (String, io::Error)> {
        let bind = |place: &ListenPlace| bind_all(place).map_err(|error| (place.to_string(), error));
        let clients = bind(&ListenPlace { host: settings.server.host.clone(), port: settings.server.port })?;
        Ok(Self { clients, operator: settings.metrics.bind.as_ref().map_or(Ok(Vec::new()), bind)? })
    }

    /// The first address for clients.
    pub fn address(&self) -> SocketAddr {
        self.clients[0].1
    }
}

fn bind_all(place: &ListenPlace) -> io::Result<Vec<Listener>> {
    match &place.host {
        ListenHost::Address(address) => Ok(vec![bind((*address, place.port).into())?]),
        ListenHost::Loopback => bind_loopback(place.port),
        ListenHost::Name(name) => {
            let addresses: BTreeSet<_> = (name.as_str(), place.port).to_socket_addrs()?.collect();
            match addresses.is_empty() {
                true => Err(io::Error::other("the name has no address")),
                false => addresses.into_iter().map(bind).collect(),
            }
        }
    }
}

/// Binds both addresses of `localhost` with one port; on a machine without IPv6 only the IPv4 address.
fn bind_loopback(port: u16) -> io::Result<Vec<Listener>> {
    const TRIES: u32 = 16;
    let has_ipv6 = Socket::new(Domain::IPV6, Type::STREAM, None).is_ok();
    let mut tries = 1;
    loop {
        let first = bind((Ipv4Addr::LOCALHOST, port).into())?;
        if !has_ipv6 {
            return Ok(vec![first]);
        }
        match bind((Ipv6Addr::LOCALHOST, first.1.port()).into()) {
            Ok(second) => return Ok(vec![first, second]),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(vec![first]),
            // The system chose a port that is free at the IPv4 address only.
            Err(error) if port == 0 && tries < TRIES && error.kind() == io::ErrorKind::AddrInUse => tries += 1,
            // Another process at [::1] would receive the orders and passwords of clients that connect to `localhost`.
            Err(error) => return Err(io::Error::new(error.kind(), format!("at [::1]: {error}"))),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<Listener> {
    /// The most connections that wait to be accepted. If there are more, the system drops the final ACK of the
    /// handshake, and a client that only reads afterwards never finds out.
    const BACKLOG: i32 = 4_096;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the standard library does: old connections of an earlier process do not block the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

//! A TCP proxy that fails: it goes silent, forwards to another server, or loses answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;

/// A proxy in front of a local port that can go silent: its connections stay open, and nothing passes any more.
pub struct Proxy {
    port: u16,
    server: Arc<AtomicU16>,
    passes: Arc<AtomicBool>,
    // Counts the silences; each ends one generation of connections.
    silences: Arc<AtomicU32>,
}

impl Proxy {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self {
            port,
            server: Arc::new(AtomicU16::new(server)),
            passes: Arc::new(AtomicBool::new(true)),
            silences: Arc::default(),
        };
        let (server, passes, silences) = (proxy.server.clone(), proxy.passes.clone(), proxy.silences.clone());
        // Ends with the test's process; until then it holds a port.
        thread::spawn(move || {
            let mut held = Vec::new();
            for client in listener.incoming().flatten() {
                let server = server.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                if passes.load(Ordering::SeqCst) {
                    forward(&client, &server, &silences);
                    forward(&server, &client, &silences);
                }
                held.push((client, server));
            }
        });
        proxy
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forwards new connections to that port; the old ones stay where they are.
    pub fn forward_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
    }

    /// Lets nothing pass from now on, and ends no connection.
    pub fn go_silent(&self) {
        self.passes.store(false, Ordering::SeqCst);
        self.silences.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets new connections pass again; those that went silent stay so.
    pub fn pass_again(&self) {
        self.passes.store(true, Ordering::SeqCst);
    }
}

/// Copies one direction of a connection until it ends or the proxy goes silent.
fn forward(from: &TcpStream, to: &TcpStream, silences: &Arc<AtomicU32>) {
    let (mut from, mut to, silences) = (from.try_clone().unwrap(), to.try_clone().unwrap(), silences.clone());
    let opened = silences.load(Ordering::SeqCst);
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if silences.load(Ordering::SeqCst) != opened {
                // The bytes are lost; both ends stay open and wait.
                thread::park();
            }
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        if silences.load(Ordering::SeqCst) == opened {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
}

/// Forwards connections to an address, and loses the answers of the first ones after the server has sent them; the
/// address of the proxy.
pub fn losing_answers(server: &str, lost: usize) -> String {
    let server = server.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let (mut requests, mut forward) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut requests, &mut forward));
            if number < lost {
                // The first byte of the answer shows that the server has handled the request.
                server.read_exact(&mut [0]).unwrap();
                client.shutdown(Shutdown::Both).unwrap();
            } else {
                thread::spawn(move || std::io::copy(&mut server, &mut client));
            }
        }
    });
    address.to_string()
}

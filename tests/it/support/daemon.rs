//! The process of a database server that a test starts, breaks and starts again.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::os::{family, runs, signal};
use crate::support::wait::TIMEOUT;

/// The pause between two checks of a server that is starting or ending.
const POLL: Duration = Duration::from_millis(10);

/// At most one process, which is killed with its children when this is dropped.
pub struct Daemon {
    name: &'static str,
    process: Option<Child>,
}

impl Daemon {
    pub fn new(name: &'static str) -> Self {
        Self { name, process: None }
    }

    /// Starts the process and waits until it is ready; returns its log if it ends before.
    pub fn start(&mut self, mut command: Command, folder: &Path, ready: impl Fn() -> bool) -> Result<(), String> {
        assert!(self.process.is_none(), "{} still runs", self.name);
        let path = folder.join("log");
        let log = File::create(&path).unwrap();
        command.current_dir(folder).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let ended = child.try_wait().unwrap().is_some();
            if ended || Instant::now() > deadline {
                kill_family(&mut child);
                let mut log = String::new();
                File::open(path).unwrap().read_to_string(&mut log).unwrap();
                return Err(log);
            }
            if ready() {
                self.process = Some(child);
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }

    /// Sends the signal of an orderly shutdown and waits until the process has ended.
    pub fn stop(&mut self, name: &str) {
        let mut process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        signal(name, &[process.id()]);
        let deadline = Instant::now() + TIMEOUT;
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                kill_family(&mut process);
                panic!("{} does not end", self.name);
            }
            thread::sleep(POLL);
        }
    }

    /// SIGKILL to the process and its children, where they have not ended by themselves.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            kill_family(&mut process);
        }
    }

    /// SIGSTOP to the process and its children: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        signal("STOP", &family(self.pid()));
    }

    /// SIGCONT to the process and its children.
    pub fn thaw(&self) {
        signal("CONT", &family(self.pid()));
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tries ports until a server starts on one: another process may take a port between the check and its use.
pub fn on_a_free_port(mut start: impl FnMut(u16) -> Result<(), String>) {
    // Below the ports that the kernel gives to outgoing connections, so that the port of a stopped server is not given
    // away, not even to a client that tries to reach it and would then be connected to itself.
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap();
    let mut log = String::new();
    for _ in 0..100 {
        let port = FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_err() {
            continue;
        }
        match start(port) {
            Ok(()) => return,
            Err(failed) => log = failed,
        }
    }
    panic!("the server does not start: {log}");
}

/// Kills a process and its children; it is stopped first, so that it starts no other child in between.
fn kill_family(process: &mut Child) {
    let pid = process.id();
    if matches!(process.try_wait(), Ok(None)) {
        signal("STOP", &[pid]);
        let family = family(pid);
        signal("KILL", &family);
        let _ = process.wait();
        // The children cannot be waited for, and one that lingers keeps the port or the shared memory.
        let deadline = Instant::now() + TIMEOUT;
        while family.iter().skip(1).any(|pid| runs(*pid)) && Instant::now() < deadline {
            thread::sleep(POLL);
        }
    }
}

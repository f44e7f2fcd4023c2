//! The flood: hostile clients that send every kind of frame.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::raw;

/// The first bytes of a hostile client, and the frame that it repeats.
pub struct Kind {
    first: Vec<u8>,
    frame: Vec<u8>,
}

/// Every kind of frame: without meaning, without an end, and invalid in the WebSocket protocol.
pub fn kinds() -> Vec<Kind> {
    let garbage = &b"{\"type\":\"subscribe\",\"orderId\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{{{{{\\u0000"[..];
    let long = [b'x'; 120];
    let alone = [
        raw::client_frame(0x1, b""),
        raw::client_frame(0x2, b""),
        raw::client_frame(0x1, b"x"),
        raw::client_frame(0x1, garbage),
        raw::client_frame(0x2, &long),
        raw::client_frame(0x1, br#"{"type":"ping"}"#),
        raw::client_frame(0x1, br#"{"type":"submit","order":{"tokenIn":7}}"#),
        raw::client_frame(0x9, b""),
        raw::client_frame(0x9, &[b'x'; 125]),
        raw::client_frame(0xa, b""),
        // Text that is not UTF-8.
        raw::client_frame(0x1, &[0xff, 0xfe]),
        // Close codes that are not allowed, and half a code.
        raw::client_frame(0x8, &[0, 0]),
        raw::client_frame(0x8, &[0xff, 0xff]),
        raw::client_frame(0x8, &[3]),
        // Without a mask.
        vec![0x81, 2, b'h', b'i'],
        // Reserved bits, a reserved opcode, and a ping in parts.
        [&[0xf1][..], &raw::client_frame(0x1, b"")[1..]].concat(),
        raw::client_frame(0x3, b""),
        raw::unfinished_frame(0x9, b""),
        // A length above the limit, and the largest length.
        [&[0x82, 0xff][..], &(1_u64 << 20).to_be_bytes(), &[0; 4]].concat(),
        [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat(),
    ];
    let continued = [
        (raw::unfinished_frame(0x1, b""), raw::unfinished_frame(0x0, b"")),
        (raw::unfinished_frame(0x2, &long), raw::unfinished_frame(0x0, &long)),
        (raw::unfinished_frame(0x1, b""), raw::unfinished_frame(0x1, b"")),
    ];
    alone
        .into_iter()
        .map(|frame| Kind { first: Vec::new(), frame })
        .chain(continued.into_iter().map(|(first, frame)| Kind { first, frame }))
        .collect()
}

/// What the flood did so far.
#[derive(Default)]
pub struct Counts {
    frames: AtomicU64,
    // Connections that became a socket, that did not, and that the engine ended.
    opened: AtomicU64,
    refused: AtomicU64,
    ended: AtomicU64,
}

/// One hostile client, with at most one connection.
pub struct Hostile {
    client: Client,
    path: String,
    first: Vec<u8>,
    // The frame, repeated for one turn and once more.
    frames: Vec<u8>,
    frame_bytes: usize,
    stream: Option<TcpStream>,
    // The bytes of the last frame that were sent before the connection was full.
    sent_bytes: usize,
    // Whether the answer to the upgrade has arrived.
    answered: bool,
}

impl Hostile {
    /// The most frames that it sends in one turn.
    const MAX_FRAMES: u64 = 250;

    pub fn new(client: &Client, path: &str, kind: Kind) -> Self {
        Self {
            client: client.clone(),
            path: path.to_owned(),
            first: kind.first,
            frames: kind.frame.repeat(usize::try_from(Self::MAX_FRAMES).unwrap() + 1),
            frame_bytes: kind.frame.len(),
            stream: None,
            sent_bytes: 0,
            answered: false,
        }
    }

    /// Reads the answers and sends frames; on a new connection if the engine ended the last one.
    fn turn(&mut self, frames: u64, counts: &Counts) {
        if self.is_ended(counts) {
            self.stream = None;
            counts.ended.fetch_add(1, Ordering::Relaxed);
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open(),
        };
        let bytes = usize::try_from(frames).unwrap() * self.frame_bytes;
        // An error means that the connection is full or was ended, which the next turn detects.
        if let Ok(written) = stream.write(&self.frames[self.sent_bytes..self.sent_bytes + bytes]) {
            let sent = self.sent_bytes + written;
            counts.frames.fetch_add((sent / self.frame_bytes) as u64, Ordering::Relaxed);
            self.sent_bytes = sent % self.frame_bytes;
        }
        self.stream = Some(stream);
    }

    fn open(&mut self) -> TcpStream {
        let mut stream = raw::upgrade(&self.client, &self.path);
        (self.answered, self.sent_bytes) = (false, 0);
        // The engine may have ended it already.
        let _ = stream.write_all(&self.first);
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn is_ended(&mut self, counts: &Counts) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut answers = [0; 16_384];
        loop {
            match stream.read(&mut answers) {
                Ok(0) => return true,
                Ok(read) if !self.answered => {
                    self.answered = true;
                    let is_socket = answers[..read].starts_with(b"HTTP/1.1 101");
                    let count = if is_socket { &counts.opened } else { &counts.refused };
                    count.fetch_add(1, Ordering::Relaxed);
                    if has_close(&answers[..read]) {
                        return true;
                    }
                }
                Ok(read) if has_close(&answers[..read]) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }
}

/// Whether a close frame is among these answers. The hostile client then opens another connection, while the engine
/// waits for the end of this one. All other bytes of the engine are ASCII or longer lengths.
fn has_close(answers: &[u8]) -> bool {
    answers.windows(2).any(|head| head[0] == 0x88 && head[1] < 100)
}

/// Hostile clients on a separate thread, until this is dropped.
pub struct Flood {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
    // The thread ends when this is dropped.
    stop: Option<Sender<()>>,
}

impl Flood {
    const FRAMES_PER_SECOND: u64 = 10_000;
    const TICK: Duration = Duration::from_millis(50);

    pub fn begin(hostile: Vec<Hostile>) -> Self {
        let (counts, (stop, stopped)) = (Arc::<Counts>::default(), channel());
        let of_thread = counts.clone();
        let thread = std::thread::spawn(move || Self::run(hostile, &of_thread, &stopped));
        Self { counts, thread: Some(thread), stop: Some(stop) }
    }

    fn run(mut hostile: Vec<Hostile>, counts: &Counts, stopped: &Receiver<()>) {
        let (begun, mut sent) = (Instant::now(), 0);
        let clients = hostile.len() as u128;
        while stopped.recv_timeout(Self::TICK) == Err(RecvTimeoutError::Timeout) {
            let due = begun.elapsed().as_millis() * u128::from(Self::FRAMES_PER_SECOND) / 1_000 / clients;
            let frames = u64::try_from(due).unwrap().saturating_sub(sent).min(Hostile::MAX_FRAMES);
            sent += frames;
            hostile.iter_mut().for_each(|one| one.turn(frames, counts));
        }
    }

    /// Frames sent, sockets opened, connections ended and upgrades refused so far.
    pub fn so_far(&self) -> [u64; 4] {
        let counts = &self.counts;
        [&counts.frames, &counts.opened, &counts.ended, &counts.refused].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()),
            "the thread of the flood panicked"
        );
    }
}

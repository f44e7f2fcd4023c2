//! Ten thousand hostile frames a second, while healthy clients follow their own orders.
//!
//! The flood has every kind of frame that costs its sender little, at a constant total rate, on sockets for many orders
//! and for one order. A connection that the engine ends is opened again immediately. Meanwhile users submit orders at a
//! constant rate and follow them on many sockets each. The test measures, on the client's side, the time from the
//! submit to the arrival of each step at each socket.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::support::campaign;
use crate::support::client::{Client, concurrently};
use crate::support::process::{SWIFT, Server};
use crate::support::raw;
use crate::support::wait::TIMEOUT;

/// The number of steps of each order.
const STEPS: usize = 5;

/// The memory that the flood may add, in KiB.
const MAY_ADD_KIB: u64 = 64 * 1024;

/// The number of healthy clients, and the length of the run.
#[derive(Clone, Copy)]
struct Size {
    users: usize,
    sockets_per_user: usize,
    /// The orders of a user in one round, and the time from one to the next.
    orders: usize,
    pause: Duration,
    /// Pairs of rounds, one without the flood and one with it.
    pairs: usize,
    /// Rounds of flood before memory is measured, and the same number after that.
    rounds: usize,
}

impl Size {
    fn of_campaign() -> Self {
        if campaign::is_full() {
            // Rounds of one minute; 150,000 measurements in each.
            Self { users: 20, sockets_per_user: 50, orders: 30, pause: Duration::from_secs(2), pairs: 5, rounds: 10 }
        } else {
            Self { users: 4, sockets_per_user: 25, orders: 4, pause: Duration::from_millis(500), pairs: 1, rounds: 1 }
        }
    }
}

/// The first bytes of a hostile client, and the frame that it repeats.
struct Kind {
    first: Vec<u8>,
    frame: Vec<u8>,
}

/// Every kind of frame: without meaning, without an end, and invalid in the WebSocket protocol.
fn kinds() -> Vec<Kind> {
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
struct Counts {
    frames: AtomicU64,
    // Connections that became a socket, that did not, and that the engine ended.
    opened: AtomicU64,
    refused: AtomicU64,
    ended: AtomicU64,
}

/// One hostile client, with at most one connection.
struct Hostile {
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

    fn new(client: &Client, path: &str, kind: Kind) -> Self {
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
struct Flood {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
    // The thread ends when this is dropped.
    stop: Option<Sender<()>>,
}

impl Flood {
    const FRAMES_PER_SECOND: u64 = 10_000;
    const TICK: Duration = Duration::from_millis(50);

    fn begin(hostile: Vec<Hostile>) -> Self {
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
    fn so_far(&self) -> [u64; 4] {
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

/// A user who submits orders, one after the other, and follows them on many sockets.
struct Healthy {
    client: Client,
    sockets: usize,
    // The time of the last submit.
    submitted: Rc<Cell<Instant>>,
    // One permit for each step that arrived at a socket.
    arrived: Rc<Semaphore>,
    delays: Rc<RefCell<Vec<Duration>>>,
    accepted: RefCell<Vec<Duration>>,
}

impl Healthy {
    async fn new(client: Client, sockets: usize) -> Self {
        let this = Self {
            client,
            sockets,
            submitted: Rc::new(Cell::new(Instant::now())),
            arrived: Rc::new(Semaphore::new(0)),
            delays: Rc::default(),
            accepted: RefCell::default(),
        };
        for _ in 0..sockets {
            let mut socket = this.client.follow_all().await;
            let (submitted, arrived, delays) = (this.submitted.clone(), this.arrived.clone(), this.delays.clone());
            actix::spawn(async move {
                loop {
                    socket.until(|message| message["type"] == "order:update").await;
                    delays.borrow_mut().push(submitted.get().elapsed());
                    arrived.add_permits(1);
                }
            });
        }
        this
    }

    /// Submits orders one after the other; each when every socket has received every step of the one before.
    async fn trade(&self, orders: usize, pause: Duration) {
        let mut tick = interval(pause);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..orders {
            tick.tick().await;
            let submitted = Instant::now();
            self.submitted.set(submitted);
            let answer = self.client.submit(json!({})).await;
            self.accepted.borrow_mut().push(submitted.elapsed());
            assert_eq!(answer.status, 201, "{answer:?}");
            let steps = u32::try_from(self.sockets * STEPS).unwrap();
            let all = timeout(TIMEOUT, self.arrived.acquire_many(steps)).await;
            all.expect("every socket receives every step").unwrap().forget();
        }
    }
}

/// The latencies of one round, in microseconds: from the submit to each step at each socket, and to the answer.
struct Latencies {
    step_p50: u128,
    step_p99: u128,
    accepted_p99: u128,
}

/// One round of all users' orders, spread evenly over time.
async fn round(users: &[Healthy], size: &Size) -> Latencies {
    let all = users.iter().zip(0_u32..).map(|(user, number)| async move {
        sleep(size.pause * number / u32::try_from(size.users).unwrap()).await;
        user.trade(size.orders, size.pause).await;
        (user.delays.take(), user.accepted.take())
    });
    let (delays, accepted): (Vec<_>, Vec<_>) = concurrently(size.users, all).await.into_iter().unzip();
    let (mut delays, mut accepted) = (delays.concat(), accepted.concat());
    assert_eq!(delays.len(), size.users * size.orders * size.sockets_per_user * STEPS);
    delays.sort_unstable();
    accepted.sort_unstable();
    let of = |sorted: &[Duration], hundredths: usize| sorted[sorted.len() * hundredths / 100].as_micros();
    Latencies { step_p50: of(&delays, 50), step_p99: of(&delays, 99), accepted_p99: of(&accepted, 99) }
}

/// The load average of the machine.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

#[actix::test]
async fn ten_thousand_hostile_frames_a_second_use_little_memory_and_do_not_delay_healthy_sockets() {
    let size = Size::of_campaign();
    // The order waits for its next attempt for longer than this test takes, which keeps its sockets open.
    let settings =
        [("orders.backoff_initial_ms", "86400000"), ("orders.timeout_ms", "86400000"), ("orders.max_attempts", "100")];
    let server = Server::start(SWIFT.into_iter().chain(settings));
    let hostile = server.client.registered("hostile").await;
    let waits = hostile.submit(json!({ "minAmountOut": "1000000" })).await.order_id();
    hostile.until(&waits, |order| order["retryCount"] == 1).await;
    let mut users = Vec::new();
    for number in 0..size.users {
        let client = server.client.registered(&format!("healthy{number}")).await;
        users.push(Healthy::new(client, size.sockets_per_user).await);
    }
    let report = |what: &str, latencies: &Latencies| {
        let (Latencies { step_p50, step_p99, accepted_p99 }, memory) = (latencies, server.memory_kib());
        eprintln!(
            "{what}: steps p50 {step_p50} us, p99 {step_p99} us; accepted p99 {accepted_p99} us; {memory} KiB; load {}",
            load()
        );
    };
    let one_order = format!("/ws/orders/{waits}");
    let begin = || {
        let all = ["/ws", &one_order].into_iter().flat_map(|path| kinds().into_iter().map(move |kind| (path, kind)));
        Flood::begin(all.map(|(path, kind)| Hostile::new(&hostile, path, kind)).collect())
    };
    let beside = async |flood: &Flood, what: &str| {
        let (begun, start) = (Instant::now(), flood.so_far());
        let latencies = round(&users, &size).await;
        let (now, took) = (flood.so_far(), begun.elapsed().as_millis());
        let [frames, opened, ended, _] = [0, 1, 2, 3].map(|at| u128::from(now[at] - start[at]) * 1_000 / took);
        report(&format!("{what}: {frames} frames/s, {opened} opened and {ended} ended a second"), &latencies);
        // A slower flood, or one that is refused, would prove nothing.
        assert!(frames >= 7_500, "the flood is only {frames} frames a second");
        assert!(ended > 0 && now[3] == 0, "no connection is ended, or {} upgrades were refused", now[3]);
        latencies
    };

    // Costs that occur once (memory pages, the database's cache) belong to neither measurement.
    report("warming up", &round(&users, &Size { orders: 3, ..size }).await);
    // The rounds alternate, because the machine may have other work meanwhile.
    let mut pairs = Vec::new();
    let before = server.memory_kib();
    for number in 1..=size.pairs {
        let alone = round(&users, &size).await;
        report(&format!("alone {number}"), &alone);
        let flood = begin();
        let beside = beside(&flood, &format!("beside {number}")).await;
        pairs.push((beside.step_p99 * 1_000 / alone.step_p99, alone.step_p99, beside.step_p99));
    }

    let flood = begin();
    let memory_after = async |part: &str| {
        for number in 1..=size.rounds {
            beside(&flood, &format!("{part} {number}")).await;
        }
        server.memory_kib()
    };
    let first = memory_after("flood").await;
    let last = memory_after("flood goes on").await;
    drop(flood);
    let order = hostile.order(&waits).await;
    assert!(order["completedAt"].is_null(), "sockets for an order that has ended are closed at once: {order}");
    report("after", &round(&users, &size).await);

    assert!(first <= before + MAY_ADD_KIB, "{before} KiB before, {first} KiB beside the flood");
    // A short run has not reached its steady state.
    let may_add = campaign::size(first / 20, MAY_ADD_KIB);
    assert!(last <= first + may_add, "{first} KiB, and {last} KiB after twice the time");
    pairs.sort_unstable();
    let (ratio, alone, beside) = pairs[pairs.len() / 2];
    eprintln!(
        "p99 from submit to each step at each socket, the median pair: {alone} us alone, {beside} us beside the flood; \
         memory {before} KiB before, {first} KiB after half of the flood, {last} KiB at its end"
    );
    // A short run has few measurements, and other tests run meanwhile.
    assert!(!campaign::is_full() || ratio <= 2_000, "{pairs:?}: thousandths, us alone, us beside the flood");
}

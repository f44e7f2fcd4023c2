//! A crowd of clients that trade while the engine fails: they repeat submits that are not answered, cancel, follow
//! their orders on sockets across restarts, and record everything that they receive.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::client::Client;
use crate::support::history::{Findings, History};
use crate::support::process::Server;
use crate::support::wait::TIMEOUT;

/// The first pause of a client that is not answered.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// The longest one; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

/// Clients that run concurrently on this thread.
pub struct Crowd {
    // The address of the engine changes with every start.
    client: RefCell<Client>,
    history: RefCell<History>,
    rng: RefCell<SmallRng>,
    trades: RefCell<Vec<JoinHandle<()>>>,
    // What each client does, for the message of a test that hangs.
    activities: RefCell<BTreeMap<u64, String>>,
    next: Cell<u64>,
    // Submits that were answered 503 so far.
    refused: Cell<usize>,
    // One order in this many is named `poison…` and panics at the fail point `order`; 0 for none.
    poison: Cell<u32>,
}

impl Crowd {
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            client: RefCell::new(Client::unreachable()),
            history: RefCell::default(),
            rng: RefCell::new(SmallRng::seed_from_u64(seed)),
            trades: RefCell::default(),
            activities: RefCell::default(),
            next: Cell::new(0),
            refused: Cell::new(0),
            poison: Cell::new(0),
        })
    }

    /// A random number below `end`.
    pub fn draw(&self, end: u32) -> u32 {
        self.rng.borrow_mut().random_range(0..end)
    }

    /// A random one of several values.
    pub fn one_of<T: Copy>(&self, values: &[T]) -> T {
        values[self.draw(values.len() as u32) as usize]
    }

    fn one_in(&self, many: u32) -> bool {
        self.draw(many) == 0
    }

    /// Pauses for a random time of at most this many milliseconds: these tests are about the moment of a fault.
    pub async fn random_pause(&self, at_most: u32) {
        tokio::time::sleep(Duration::from_micros(self.draw(at_most * 1_000 + 1).into())).await;
    }

    /// Notes that the engine's wall clock is stepped from now on.
    pub fn clock_stepped(&self) {
        self.history.borrow_mut().clock_stepped();
    }

    /// Names one order in this many `poison…`; 0 for none.
    pub fn poison_one_in(&self, many: u32) {
        self.poison.set(many);
    }

    /// Makes every client use the present address of the engine.
    pub fn connect_to(&self, server: &Server) {
        *self.client.borrow_mut() = server.client.clone();
    }

    /// Starts more clients, with one order each.
    pub fn start_trades(self: &Rc<Self>, orders: usize) {
        for _ in 0..orders {
            let crowd = self.clone();
            self.trades.borrow_mut().push(actix::spawn(async move { crowd.one_trade().await }));
        }
    }

    /// Submits one more order and waits until it has ended.
    pub async fn one_order_ends(self: &Rc<Self>, when: &str) {
        let key = format!("probe-{}", self.next.replace(self.next.get() + 1));
        let ended = async {
            let id = self.submit_until_answered(&key, false, true).await.expect("this client does not give up");
            self.client().until_ended(&id).await;
        };
        let ended = tokio::time::timeout(TIMEOUT, ended).await;
        assert!(ended.is_ok(), "{when}: no order ends any more; the clients are {}", self.activities());
    }

    /// The number of clients whose order has not ended.
    pub fn trading(&self) -> usize {
        self.activities.borrow().len()
    }

    /// The number of submits that were answered 503.
    pub fn refused(&self) -> usize {
        self.refused.get()
    }

    /// What each client does.
    pub fn activities(&self) -> String {
        format!("{:#?}", self.activities.borrow())
    }

    /// Waits until every client has finished, and checks the history.
    pub async fn check(&self, server: &Server) -> Findings {
        self.until_all_finished().await;
        let history = self.history.take();
        let findings = history.check(server).await;
        *self.history.borrow_mut() = history;
        findings
    }

    async fn until_all_finished(&self) {
        let trades = self.trades.take();
        let all = async {
            for trade in trades {
                trade.await.unwrap();
            }
        };
        if tokio::time::timeout(TIMEOUT, all).await.is_err() {
            let mut open = Vec::new();
            for status in ["pending", "routing", "building", "submitted"] {
                open.push(self.client().get(&format!("/api/orders?limit=5&status={status}")).await.body);
            }
            panic!("not every client finishes; open are {open:#?}, and the clients are {}", self.activities());
        }
    }

    fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    fn note(&self, client: u64, activity: String) {
        self.activities.borrow_mut().insert(client, activity);
    }

    async fn one_trade(&self) {
        let number = self.next.replace(self.next.get() + 1);
        let poisoned = self.poison.get() > 0 && self.one_in(self.poison.get());
        let key = format!("{}{number}", if poisoned { "poison-" } else { "order-" });
        let named = poisoned || self.one_in(2);
        self.note(number, format!("submitting {key}"));
        if let Some(id) = self.submit(&key, named).await {
            if self.one_in(5) {
                self.submit(&key, named).await;
            }
            self.note(number, format!("cancelling or following {id}"));
            tokio::join!(self.perhaps_cancel(&id), self.perhaps_follow(number, &id));
        }
        self.activities.borrow_mut().remove(&number);
    }

    /// Submits until an answer comes. A few clients give up after the first try.
    async fn submit(&self, key: &str, named: bool) -> Option<String> {
        let persistent = !self.one_in(10);
        self.submit_until_answered(key, named, persistent).await
    }

    async fn submit_until_answered(&self, key: &str, named: bool, persistent: bool) -> Option<String> {
        self.history.borrow_mut().submit_sent(key);
        let fields = if named { json!({ "clientOrderId": key }) } else { json!({}) };
        // Without a growing pause a large crowd would be a flood.
        let mut pause = SHORTEST_PAUSE;
        loop {
            if let Ok(answer) = self.client().try_submit_with_key(key, fields.clone()).await {
                self.history.borrow_mut().submit_answered(Some(key), &answer);
                match answer.status {
                    200 | 201 => return Some(answer.order_id()),
                    // Refused for now; or this client was too slow for the server, which then read nothing.
                    503 | 408 => self.refused.set(self.refused.get() + 1),
                    _ => panic!("a submit was answered {answer:?}"),
                }
            }
            if !persistent {
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn perhaps_cancel(&self, id: &str) {
        if self.one_in(6) {
            self.random_pause(60).await;
            let path = format!("/api/orders/{id}/cancel");
            if let Ok(answer) = self.client().try_request("POST", &path, &[], "").await {
                assert!(matches!(answer.status, 200 | 408 | 409 | 503), "a cancel was answered {answer:?}");
                self.history.borrow_mut().cancel_answered(id, &answer);
            }
        }
    }

    async fn perhaps_follow(&self, number: u64, id: &str) {
        if !self.one_in(3) {
            return;
        }
        let mut received = 0;
        loop {
            let path = format!("/ws/orders/{id}?afterSeq={received}");
            self.note(number, format!("opening {path}"));
            if let Ok(socket) = self.client().try_socket(&path).await {
                self.note(number, format!("reading {path}"));
                let log = socket.until_closed().await;
                let (steps, close) = (log.steps.len() as u64, log.close);
                self.history.borrow_mut().socket_closed(id, received, log);
                received += steps;
                if close == Some(1000) {
                    return;
                }
                // 4408: on a busy machine this client may be too slow, and resumes.
                assert!(matches!(close, None | Some(1001 | 1013 | 4408)), "a socket was closed with {close:?}");
            }
            tokio::time::sleep(SHORTEST_PAUSE).await;
        }
    }
}

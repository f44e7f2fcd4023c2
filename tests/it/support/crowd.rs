//! A crowd of clients that trade through whatever happens to the engine: they repeat what was not answered, cancel,
//! follow on sockets across restarts, and note down everything they were told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::client::{Answer, Client, order};
use crate::support::history::{Findings, History};
use crate::support::process::{PATIENCE, Server};

/// How often a client that is not answered tries again.
const LOOK: Duration = Duration::from_millis(5);
/// And how long it waits at most in between.
const LONGEST_LOOK: Duration = Duration::from_millis(80);

/// Whether the long form is asked for, with `ORDER_ENGINE_CAMPAIGN=full`.
pub fn full() -> bool {
    std::env::var("ORDER_ENGINE_CAMPAIGN").is_ok_and(|form| form == "full")
}

/// The seed of everything random in a campaign: `ORDER_ENGINE_CAMPAIGN_SEED`, or a new one. Told, so that it can be set.
pub fn seed() -> u64 {
    let seed = std::env::var("ORDER_ENGINE_CAMPAIGN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
    eprintln!("ORDER_ENGINE_CAMPAIGN_SEED={seed}");
    seed
}

/// Clients beside each other on this thread.
pub struct Crowd {
    // Where the engine listens just now; it changes with every start.
    client: RefCell<Client>,
    history: RefCell<History>,
    rng: RefCell<SmallRng>,
    trades: RefCell<Vec<JoinHandle<()>>>,
    // What each client is busy with, for the day on which one never comes to an end.
    doing: RefCell<BTreeMap<u64, String>>,
    next: Cell<u64>,
    // Submits that were answered 503 so far.
    refused: Cell<usize>,
    // One order in so many is called `poison…` and meets the fail point `order`; 0 for none.
    poison: Cell<u32>,
}

impl Crowd {
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            client: RefCell::new(Client::nowhere()),
            history: RefCell::default(),
            rng: RefCell::new(SmallRng::seed_from_u64(seed)),
            trades: RefCell::default(),
            doing: RefCell::default(),
            next: Cell::new(0),
            refused: Cell::new(0),
            poison: Cell::new(0),
        })
    }

    /// A number below `end`.
    pub fn draw(&self, end: u32) -> u32 {
        self.rng.borrow_mut().random_range(0..end)
    }

    fn one_in(&self, many: u32) -> bool {
        self.draw(many) == 0
    }

    /// Waits for a random moment within so many milliseconds: at which moment is what these tests are about.
    pub async fn some_moment(&self, within: u32) {
        tokio::time::sleep(Duration::from_micros(self.draw(within * 1_000 + 1).into())).await;
    }

    /// From here on the engine's wall clock is set.
    pub fn clock_is_set(&self) {
        self.history.borrow_mut().clock_is_set();
    }

    /// Calls one order in so many `poison…`.
    pub fn poison_one_in(&self, many: u32) {
        self.poison.set(many);
    }

    /// Tells everybody where the engine listens now.
    pub fn meet(&self, server: &Server) {
        *self.client.borrow_mut() = server.client.clone();
    }

    /// So many more clients begin to trade, one order each.
    pub fn trade(self: &Rc<Self>, orders: usize) {
        for _ in 0..orders {
            let crowd = self.clone();
            self.trades.borrow_mut().push(actix::spawn(async move { crowd.one_trade().await }));
        }
    }

    /// One more client submits an order and waits until it has ended.
    pub async fn one_order_ends(self: &Rc<Self>, when: &str) {
        let key = format!("probe-{}", self.next.replace(self.next.get() + 1));
        let ended = async {
            let id = self.submit_again(&key, false, true).await.expect("this client never goes away");
            self.client().until_ended(&id).await;
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        assert!(ended.is_ok(), "{when}: no order ends any more; the clients are {}", self.doing());
    }

    /// How many clients have not been told yet how their order ended.
    pub fn trading(&self) -> usize {
        self.doing.borrow().len()
    }

    /// How many submits were refused for now.
    pub fn refused(&self) -> usize {
        self.refused.get()
    }

    /// What each of them is busy with.
    pub fn doing(&self) -> String {
        format!("{:#?}", self.doing.borrow())
    }

    /// Waits until every client has been told how its order ended.
    pub async fn until_content(&self) {
        let trades = self.trades.take();
        let all = async {
            for trade in trades {
                trade.await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            let mut open = Vec::new();
            for status in ["pending", "routing", "building", "submitted"] {
                open.push(self.client().get(&format!("/api/orders?limit=5&status={status}")).await.body);
            }
            let doing = self.doing();
            panic!("not every client is told how its order ended; open are {open:#?}, and the clients are {doing}");
        }
    }

    /// Waits until everything has ended, and judges it.
    pub async fn check(&self, server: &Server) -> Findings {
        self.until_content().await;
        let history = self.history.take();
        let findings = history.check(server).await;
        *self.history.borrow_mut() = history;
        findings
    }

    fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    async fn one_trade(&self) {
        let number = self.next.replace(self.next.get() + 1);
        let poisoned = self.poison.get() > 0 && self.one_in(self.poison.get());
        let key = format!("{}{number}", if poisoned { "poison-" } else { "order-" });
        let named = poisoned || self.one_in(2);
        self.doing.borrow_mut().insert(number, format!("submitting {key}"));
        if let Some(id) = self.submit(&key, named).await {
            if self.one_in(5) {
                self.submit(&key, named).await;
            }
            self.doing.borrow_mut().insert(number, format!("cancelling or following {id}"));
            tokio::join!(self.perhaps_cancel(&id), self.perhaps_follow(number, &id));
        }
        self.doing.borrow_mut().remove(&number);
    }

    /// Submits until an answer comes. A few clients go away where the first one does not.
    async fn submit(&self, key: &str, named: bool) -> Option<String> {
        let steadfast = !self.one_in(10);
        self.submit_again(key, named, steadfast).await
    }

    /// Submits until an answer comes; where it is not steadfast, once.
    async fn submit_again(&self, key: &str, named: bool, steadfast: bool) -> Option<String> {
        self.history.borrow_mut().asked(key);
        let fields = if named { json!({ "clientOrderId": key }) } else { json!({}) };
        let body = order(fields).to_string();
        // A busy crowd that asks ever again without a pause would be a flood.
        let mut pause = LOOK;
        loop {
            let headers = [("content-type", "application/json"), ("idempotency-key", key)];
            let answer = self.client().send("POST", "/api/orders", &headers, body.clone()).await;
            if let Ok(answer) = &answer {
                self.history.borrow_mut().answered(Some(key), answer);
                match answer {
                    Answer { status: 200 | 201, .. } => return Some(answer.order_id()),
                    // Refused for now; or this client was too slow for the server, which read nothing then.
                    Answer { status: 503 | 408, .. } => self.refused.set(self.refused.get() + 1),
                    Answer { .. } => panic!("a submit was answered {answer:?}"),
                }
            }
            if !steadfast {
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    async fn perhaps_cancel(&self, id: &str) {
        if self.one_in(6) {
            self.some_moment(60).await;
            let path = format!("/api/orders/{id}/cancel");
            if let Ok(answer) = self.client().send("POST", &path, &[], String::new()).await {
                assert!(matches!(answer.status, 200 | 408 | 409 | 503), "a cancel was answered {answer:?}");
                self.history.borrow_mut().cancel_answered(id, &answer);
            }
        }
    }

    async fn perhaps_follow(&self, number: u64, id: &str) {
        if !self.one_in(3) {
            return;
        }
        let mut told = 0;
        loop {
            let path = format!("/ws/orders/{id}?afterSeq={told}");
            self.doing.borrow_mut().insert(number, format!("opening {path}"));
            if let Ok(socket) = self.client().try_socket(&path).await {
                self.doing.borrow_mut().insert(number, format!("reading {path}"));
                let history = socket.until_closed().await;
                let (steps, close) = (history.steps.len() as u64, history.close);
                self.history.borrow_mut().told(id, told, history);
                told += steps;
                if close == Some(1000) {
                    return;
                }
                // 4408: on a busy machine this client may be too slow, and comes back.
                assert!(matches!(close, None | Some(1001 | 1013 | 4408)), "a socket was closed with {close:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

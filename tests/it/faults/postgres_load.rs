//! A load of submits on an engine whose PostgreSQL fails, and the check of every answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Answer, Client, concurrently};
use crate::support::process::Server;
use crate::support::wait::{assert_deadline_kept, until};

/// The documented time until a submit is answered, also without a database.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// The documented time until work resumes once the database is back.
pub const RESUME_DEADLINE: Duration = Duration::from_secs(5);

/// One submit and its answer.
pub struct Submit {
    pub client_order_id: String,
    pub sent: Instant,
    pub answered: Instant,
    pub answer: Answer,
}

/// Several clients that submit orders at a steady rate until they are stopped, each order with its own client order id.
pub struct Load {
    stop: Rc<Cell<bool>>,
    submits: Rc<RefCell<Vec<Submit>>>,
    clients: Vec<actix_web::rt::task::JoinHandle<()>>,
}

impl Load {
    const CLIENTS: usize = 8;
    /// The pause between two submits of one client, which makes a steady load.
    const PAUSE: Duration = Duration::from_millis(10);

    pub fn start(client: &Client) -> Self {
        let (stop, submits) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
        let clients = (0..Self::CLIENTS).map(|number| {
            let (client, stop, submits) = (client.clone(), stop.clone(), submits.clone());
            actix_web::rt::spawn(async move {
                for count in 0.. {
                    if stop.get() {
                        break;
                    }
                    let client_order_id = format!("load-{number}-{count}");
                    let sent = Instant::now();
                    let answer = client.submit(json!({ "clientOrderId": client_order_id })).await;
                    submits.borrow_mut().push(Submit { client_order_id, sent, answered: Instant::now(), answer });
                    tokio::time::sleep(Self::PAUSE).await;
                }
            })
        });
        let clients = clients.collect();
        Self { stop, submits, clients }
    }

    pub fn count(&self, status: u16) -> usize {
        self.submits.borrow().iter().filter(|submit| submit.answer.status == status).count()
    }

    /// Waits until that many more submits are answered with that status.
    pub async fn until_more(&self, status: u16, more: usize) {
        let enough = self.count(status) + more;
        until(&format!("{more} more submits were answered {status}"), async || self.count(status) >= enough).await;
    }

    /// Ends the clients without waiting for their answers.
    pub fn abort(self) {
        self.clients.iter().for_each(|client| client.abort());
    }

    pub async fn stop(self) -> Vec<Submit> {
        self.stop.set(true);
        for client in self.clients {
            client.await.unwrap();
        }
        self.submits.take()
    }
}

/// Fails unless orders were accepted again in time after the database was back.
pub fn assert_resumed(submits: &[Submit], returned: Instant) {
    let resumed = submits.iter().filter(|submit| submit.answer.status == 201 && submit.answered > returned);
    let resumed = resumed.map(|submit| submit.answered - returned).min().unwrap();
    println!("work resumed {resumed:?} after the database was back");
    assert_deadline_kept(RESUME_DEADLINE, resumed, "resuming after an outage");
}

/// Fails unless every submit was answered in time, and every answer agrees with what is stored.
pub async fn check(server: &Server, submits: &[Submit]) {
    let client = &server.client;
    let mut counts = BTreeMap::<String, usize>::new();
    for Submit { sent, answered, answer, .. } in submits {
        let code = answer.body["code"].as_str().unwrap_or("accepted");
        *counts.entry(format!("{} {code}", answer.status)).or_default() += 1;
        assert_deadline_kept(ANSWER_DEADLINE, *answered - *sent, "answering a submit");
        match (answer.status, code) {
            (201, _) => {}
            (503, "not_accepted") => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
            // Whether an earlier submit with the key was stored is not known; there was none.
            (503, "outcome_unknown") if answer.body["orderId"].is_null() => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            (503, "outcome_unknown") => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                assert_eq!(answer.header("location"), Some(&*format!("/api/orders/{}", answer.order_id())));
            }
            _ => panic!("{answer:?}"),
        }
    }
    let slowest = submits.iter().map(|submit| submit.answered - submit.sent).max();
    println!("{counts:?}, the slowest after {slowest:?}");

    // Once every stored order has ended, the lists do not change any more.
    let stored = client.all_orders().await;
    let ended =
        concurrently(50, stored.iter().map(|order| client.until_ended(order["orderId"].as_str().unwrap()))).await;
    for order in &ended {
        assert_eq!(order["status"], "confirmed", "{order}");
    }
    for Submit { client_order_id, answer, .. } in submits {
        let orders: Vec<_> = ended.iter().filter(|order| order["clientOrderId"] == **client_order_id).collect();
        match answer.body["code"].as_str() {
            None => {
                let id = answer.order_id();
                assert!(orders.iter().any(|order| order["orderId"] == *id), "accepted and lost: {answer:?}");
            }
            Some("not_accepted") => assert!(orders.is_empty(), "refused and stored: {orders:?}"),
            Some(_) if answer.body["orderId"].is_null() => {
                assert!(orders.is_empty(), "not stored, and stored: {orders:?}")
            }
            // The outcome is unknown: the order of that id is stored, or nothing is.
            Some(_) => {
                let id = answer.order_id();
                assert!(orders.iter().all(|order| order["orderId"] == *id), "{answer:?}: {orders:?}");
                let found = client.get(&format!("/api/orders/{id}")).await;
                assert_eq!(found.status, if orders.is_empty() { 404 } else { 200 });
            }
        }
    }
    let landed = server.landed_swaps();
    assert_eq!(landed, ended.len(), "as many swaps as orders");
    server.assert_no_second_swap();
}

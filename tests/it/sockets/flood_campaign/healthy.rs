//! The healthy clients: users who submit orders and follow them on many sockets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::support::campaign;
use crate::support::client::{Client, concurrently};
use crate::support::wait::TIMEOUT;

/// The number of steps of each order.
const STEPS: usize = 5;

/// The number of healthy clients, and the length of the run.
#[derive(Clone, Copy)]
pub struct Size {
    pub users: usize,
    pub sockets_per_user: usize,
    /// The orders of a user in one round, and the time from one to the next.
    pub orders: usize,
    pub pause: Duration,
    /// Pairs of rounds, one without the flood and one with it.
    pub pairs: usize,
    /// Rounds of flood before memory is measured, and the same number after that.
    pub rounds: usize,
}

impl Size {
    pub fn of_campaign() -> Self {
        if campaign::is_full() {
            // Rounds of one minute; 150,000 measurements in each.
            Self { users: 20, sockets_per_user: 50, orders: 30, pause: Duration::from_secs(2), pairs: 5, rounds: 10 }
        } else {
            Self { users: 4, sockets_per_user: 25, orders: 4, pause: Duration::from_millis(500), pairs: 1, rounds: 1 }
        }
    }
}

/// A user who submits orders, one after the other, and follows them on many sockets.
pub struct Healthy {
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
    pub async fn new(client: Client, sockets: usize) -> Self {
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
    pub async fn trade(&self, orders: usize, pause: Duration) {
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
pub struct Latencies {
    pub step_p50: u128,
    pub step_p99: u128,
    pub accepted_p99: u128,
}

/// One round of all users' orders, spread evenly over time.
pub async fn round(users: &[Healthy], size: &Size) -> Latencies {
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

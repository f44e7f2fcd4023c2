use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::supervisor::{Child, ChildExited, GiveUp, SuperviseChild, Supervisor};
use crate::domain::id::VenueId;
use crate::runtime::clock::Clock;

/// A supervisor of the router on paused time.
struct Subject {
    supervisor: Addr<Supervisor>,
    restarts: Arc<AtomicUsize>,
    fatal: watch::Receiver<Option<String>>,
}

impl Subject {
    async fn start() -> Self {
        tokio::time::pause();
        let (sender, fatal) = watch::channel(None);
        let supervisor = Supervisor::new(Clock::runtime(), sender).start();
        let restarts = Arc::new(AtomicUsize::new(0));
        let counted = restarts.clone();
        let restart = Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        supervisor.send(SuperviseChild { child: Child::Router, restart }).await.unwrap();
        Self { supervisor, restarts, fatal }
    }

    async fn exits(&self, child: Child, panicked: bool) {
        self.supervisor.send(ChildExited { child, panicked }).await.unwrap();
    }

    fn restarts(&self) -> usize {
        self.restarts.load(Ordering::Relaxed)
    }

    fn fatal(&self) -> Option<String> {
        self.fatal.borrow().clone()
    }
}

#[actix::test]
async fn a_child_that_panics_a_fourth_time_within_a_minute_is_fatal() {
    let subject = Subject::start().await;
    for _ in 0..3 {
        subject.exits(Child::Router, true).await;
    }
    assert_eq!((subject.restarts(), subject.fatal()), (3, None));
    subject.exits(Child::Router, true).await;
    assert_eq!(subject.restarts(), 3);
    assert_eq!(subject.fatal().unwrap(), "Router panicked more than 3 times in a minute");
}

#[actix::test]
async fn a_child_that_panics_less_often_is_restarted_each_time() {
    let subject = Subject::start().await;
    for _ in 0..10 {
        subject.exits(Child::Router, true).await;
        tokio::time::advance(Duration::from_secs(21)).await;
    }
    assert_eq!((subject.restarts(), subject.fatal()), (10, None));
}

#[actix::test]
async fn a_child_that_is_stopped_is_not_restarted() {
    let subject = Subject::start().await;
    subject.exits(Child::Router, false).await;
    subject.exits(Child::OrderManager, false).await;
    assert_eq!((subject.restarts(), subject.fatal()), (0, None));
}

#[actix::test]
async fn a_panic_of_an_actor_that_holds_state_is_fatal_and_the_first_cause_is_kept() {
    let subject = Subject::start().await;
    subject.exits(Child::Persistence, true).await;
    subject.exits(Child::Venue(VenueId::RAYDIUM), true).await;
    subject.supervisor.send(GiveUp("the lock is lost".into())).await.unwrap();
    assert_eq!(subject.fatal().unwrap(), "Persistence panicked");
}

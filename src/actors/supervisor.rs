//! The supervisor: restarts a venue or router that has stopped, and says when the engine cannot go on.

use std::collections::HashMap;

use actix::prelude::*;
use tokio::sync::watch;

use crate::domain::id::VenueId;
use crate::domain::limits::RateWindow;
use crate::runtime::clock::Clock;

/// An actor whose end the engine has to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    /// A venue's actor.
    Venue(VenueId),
    /// The router.
    Router,
    /// The order manager.
    OrderManager,
    /// Persistence.
    Persistence,
}

/// Tells that an actor is gone.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ChildExited {
    /// Which.
    pub child: Child,
    /// Whether it panicked; otherwise it was told to stop.
    pub panicked: bool,
}

/// Hands over how to start a child again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SuperviseChild {
    /// Which.
    pub child: Child,
    /// Starts a new incarnation and points the child's line at it.
    pub restart: Box<dyn Fn() + Send>,
}

/// Tells that the engine cannot go on, and why.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct GiveUp(pub String);

/// How to start a child again, and how often that was needed lately.
struct ChildState {
    restart: Box<dyn Fn() + Send>,
    window: RateWindow,
}

/// Watches over the actors that hold no truth.
pub struct Supervisor {
    clock: Clock,
    children: HashMap<Child, ChildState>,
    fatal: watch::Sender<Option<String>>,
}

impl Supervisor {
    /// More restarts of one child in a minute are no accident any more.
    const RESTARTS_PER_MINUTE: u32 = 3;

    /// A supervisor that tells `fatal` why the engine cannot go on.
    pub fn new(clock: Clock, fatal: watch::Sender<Option<String>>) -> Self {
        Self { clock, children: HashMap::new(), fatal }
    }

    fn give_up(&self, cause: String) {
        tracing::error!(cause, "the engine cannot go on");
        // The first cause is the one that counts.
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            fatal.get_or_insert(cause);
            first
        });
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
}

impl Handler<SuperviseChild> for Supervisor {
    type Result = ();

    fn handle(&mut self, adopt: SuperviseChild, _: &mut Self::Context) {
        let window = RateWindow::new(Self::RESTARTS_PER_MINUTE);
        self.children.insert(adopt.child, ChildState { restart: adopt.restart, window });
    }
}

impl Handler<ChildExited> for Supervisor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, _: &mut Self::Context) {
        let ChildExited { child, panicked } = exited;
        if !panicked {
            return;
        }
        let now = self.clock.uptime();
        match self.children.get_mut(&child) {
            None => self.give_up(format!("{child:?} panicked")),
            Some(ChildState { restart, window }) => match window.take(now) {
                Ok(()) => {
                    tracing::warn!(?child, "an actor panicked and is started again");
                    restart();
                }
                Err(_) => self
                    .give_up(format!("{child:?} panicked more than {} times in a minute", Self::RESTARTS_PER_MINUTE)),
            },
        }
    }
}

impl Handler<GiveUp> for Supervisor {
    type Result = ();

    fn handle(&mut self, GiveUp(cause): GiveUp, _: &mut Self::Context) {
        self.give_up(cause);
    }
}

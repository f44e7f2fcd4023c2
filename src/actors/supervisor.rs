//! The supervisor: restarts a venue or the router after a panic, and reports when the engine cannot go on.

use std::collections::HashMap;

use actix::prelude::*;
use tokio::sync::watch;

use crate::domain::id::VenueId;
use crate::domain::limits::RateWindow;
use crate::runtime::clock::Clock;

/// A supervised actor.
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

/// Reports that a supervised actor has stopped.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ChildExited {
    /// The actor.
    pub child: Child,
    /// Whether it panicked; otherwise it was stopped on purpose.
    pub panicked: bool,
}

/// Registers how a child is restarted. A child without a registration is not restarted: its panic is fatal.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SuperviseChild {
    /// The actor.
    pub child: Child,
    /// Starts a new instance and replaces the child's address by the new one.
    pub restart: Box<dyn Fn() + Send>,
}

/// Reports that the engine cannot go on, and why.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct GiveUp(pub String);

/// How a child is restarted, and how often that happened in the last minute.
struct ChildState {
    restart: Box<dyn Fn() + Send>,
    window: RateWindow,
}

/// Restarts the actors that hold no state.
pub struct Supervisor {
    clock: Clock,
    children: HashMap<Child, ChildState>,
    fatal: watch::Sender<Option<String>>,
}

impl Supervisor {
    /// A child that panics more often within a minute will not recover by a restart.
    const RESTARTS_PER_MINUTE: u32 = 3;

    /// A supervisor that sets `fatal` to the cause when the engine cannot go on.
    pub fn new(clock: Clock, fatal: watch::Sender<Option<String>>) -> Self {
        Self { clock, children: HashMap::new(), fatal }
    }

    fn give_up(&self, cause: String) {
        tracing::error!(cause, "the engine cannot go on");
        // Only the first cause is kept: later ones follow from it.
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

    fn handle(&mut self, SuperviseChild { child, restart }: SuperviseChild, _: &mut Self::Context) {
        let window = RateWindow::new(Self::RESTARTS_PER_MINUTE);
        self.children.insert(child, ChildState { restart, window });
    }
}

impl Handler<ChildExited> for Supervisor {
    type Result = ();

    fn handle(&mut self, ChildExited { child, panicked }: ChildExited, _: &mut Self::Context) {
        if !panicked {
            return;
        }
        let now = self.clock.uptime();
        match self.children.get_mut(&child) {
            None => self.give_up(format!("{child:?} panicked")),
            Some(ChildState { restart, window }) => match window.take(now) {
                Ok(()) => {
                    tracing::warn!(?child, "an actor panicked and is restarted");
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

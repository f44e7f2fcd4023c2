//! Chooses what an engine is made of, and starts it.

use std::sync::Arc;

use actix::System;
use tokio::sync::oneshot;

use crate::chain::Chain;
use crate::config::Settings;
use crate::engine::adapters::Adapters;
use crate::engine::error::StartError;
use crate::engine::handle::Engine;
use crate::engine::startup::{self, Plan};
use crate::engine::threads::Threads;
use crate::runtime::environment::Environment;
use crate::signer::Signer;
use crate::store::OrderStore;
use crate::venue::Venue;

/// Builds an engine. Without further calls it is the engine that the settings describe, on threads of its own.
#[must_use = "the engine runs only after `start`"]
pub struct EngineBuilder {
    plan: Plan,
    on_this_thread: bool,
}

impl Engine {
    /// Starts the engine that the settings describe, on threads of its own. Works from any async program.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::builder(settings).start().await
    }

    /// An engine with parts of the caller.
    pub fn builder(settings: Settings) -> EngineBuilder {
        EngineBuilder {
            plan: Plan { settings, adapters: Adapters::default(), environment: None, with_http: true },
            on_this_thread: false,
        }
    }
}

impl EngineBuilder {
    /// Records orders in this store instead of the database of the settings. The engine then has no user accounts and
    /// takes no lock: the caller ensures that no other engine uses the store.
    pub fn store(mut self, store: Arc<dyn OrderStore>) -> Self {
        self.plan.adapters.store = Some(store);
        self
    }

    /// Sends swaps to this chain instead of the chain of the settings.
    pub fn chain(mut self, chain: Arc<dyn Chain>) -> Self {
        self.plan.adapters.chain = Some(chain);
        self
    }

    /// Asks these venues instead of the venues of the settings. Each has an id of its own. On a tie the earlier one wins.
    pub fn venues(mut self, venues: Vec<Arc<dyn Venue>>) -> Self {
        self.plan.adapters.venues = Some(venues);
        self
    }

    /// Signs swaps with this wallet instead of the wallet of the simulation.
    pub fn signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.plan.adapters.signer = Some(signer);
        self
    }

    /// Takes time, random numbers and identities from this environment. By default they come from the machine; the time
    /// of an engine on the calling thread comes from the async runtime of that thread.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.plan.environment = Some(environment);
        self
    }

    /// Serves neither HTTP nor WebSocket, and opens no port.
    pub fn without_http(mut self) -> Self {
        self.plan.with_http = false;
        self
    }

    /// Runs every actor on the calling thread, in its actix `System`, and on its time, which may be paused.
    ///
    /// With paused time, provide a store that does not wait for a database: time advances while the engine waits.
    pub fn on_this_thread(mut self) -> Self {
        self.on_this_thread = true;
        self
    }

    /// Starts the engine. When this returns `Ok`, it accepts orders and has resumed the unfinished ones.
    pub async fn start(self) -> Result<Engine, StartError> {
        match self.on_this_thread {
            true => start_on_this_thread(self.plan).await,
            false => start_on_new_thread(self.plan).await,
        }
    }
}

async fn start_on_this_thread(plan: Plan) -> Result<Engine, StartError> {
    // Boxed because the future of a start is large.
    let (engine, stop) = Box::pin(startup::start(plan, Threads::OfCaller)).await?;
    actix::spawn(stop);
    Ok(engine)
}

async fn start_on_new_thread(plan: Plan) -> Result<Engine, StartError> {
    let (started, engine) = oneshot::channel();
    let run = move || {
        System::new().block_on(async move {
            match Box::pin(startup::start(plan, Threads::Own(Vec::new()))).await {
                Ok((engine, stop)) => {
                    // If the caller no longer waits, the engine is dropped, which stops it.
                    let _ = started.send(Ok(engine));
                    stop.await;
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
    };
    std::thread::Builder::new().name("order-engine".to_owned()).spawn(run).map_err(|_| StartError::Broken)?;
    engine.await.unwrap_or(Err(StartError::Broken))
}

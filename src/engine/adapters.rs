//! The adapters of an engine: where it stores orders, where it gets quotes, and where swaps land.

use std::sync::Arc;

use ed25519_dalek::SigningKey;

use crate::chain::Chain;
use crate::config::{LedgerPlace, Settings};
use crate::domain::id::VenueId;
use crate::engine::error::StartError;
use crate::runtime::environment::Environment;
use crate::simulation::chain::SimulatedChain;
use crate::simulation::ledger::Ledger;
use crate::simulation::rng::SimulationRng;
use crate::simulation::venue::SimulatedVenue;
use crate::store::OrderStore;
use crate::venue::Venue;

/// The adapters that the caller provides. The settings choose the others.
#[derive(Default)]
pub(super) struct Adapters {
    /// Used instead of the database of the settings. Such an engine has no user accounts.
    pub(super) store: Option<Arc<dyn OrderStore>>,
    /// Used instead of the chain of the settings.
    pub(super) chain: Option<Arc<dyn Chain>>,
    /// Used instead of the venues of the settings.
    pub(super) venues: Option<Vec<Arc<dyn Venue>>>,
}

/// Where orders are executed.
pub(super) struct Market {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) venues: Vec<Arc<dyn Venue>>,
}

/// Takes the caller's chain and venues, and builds what is missing from the settings.
pub(super) fn market(
    chain: Option<Arc<dyn Chain>>,
    venues: Option<Vec<Arc<dyn Venue>>>,
    settings: &Settings,
    environment: &Environment,
) -> Result<Market, StartError> {
    // The one place that chooses adapters. Only simulated ones exist today; a setting that selects real venues and a
    // real chain is matched here.
    let simulation =
        Simulation { settings, rng: SimulationRng::new(settings.simulation.seed, &environment.random), environment };
    let chain = match chain {
        Some(chain) => chain,
        None => simulation.chain()?,
    };
    let venues = venues.unwrap_or_else(|| simulation.venues(&chain));
    Ok(Market { chain, venues })
}

/// Builds simulated adapters. All of them draw from one seed.
struct Simulation<'a> {
    settings: &'a Settings,
    rng: SimulationRng,
    environment: &'a Environment,
}

impl Simulation<'_> {
    fn chain(&self) -> Result<Arc<dyn Chain>, StartError> {
        let simulation = &self.settings.simulation;
        let ledger = match &simulation.ledger {
            LedgerPlace::Memory => Ledger::in_memory(self.environment.clock.read(), simulation.block),
            LedgerPlace::File(path) => Ledger::open(path, self.environment.clock.read(), simulation.block)?,
        };
        Ok(Arc::new(SimulatedChain::new(simulation.clone(), self.rng, self.environment.clock, ledger)))
    }

    fn venues(&self, chain: &Arc<dyn Chain>) -> Vec<Arc<dyn Venue>> {
        tracing::info!(seed = self.rng.seed(), "venues and chain are simulated");
        // A random wallet is enough: the simulation has no funds, so the key need not be kept.
        let wallet = Arc::new(SigningKey::from_bytes(&self.environment.random.bytes()));
        let venue = |id| -> Arc<dyn Venue> {
            Arc::new(SimulatedVenue::new(
                id,
                self.settings.simulation.clone(),
                self.settings.tokens.clone(),
                self.rng,
                self.environment.clock,
                chain.clone(),
                wallet.clone(),
            ))
        };
        VenueId::ALL.into_iter().map(venue).collect()
    }
}

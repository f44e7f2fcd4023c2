//! The adapters of an engine: where it stores orders, where it gets quotes, who signs swaps, and where they land.

use std::collections::HashSet;
use std::sync::Arc;

use crate::chain::Chain;
use crate::config::{LedgerPlace, Settings};
use crate::engine::error::StartError;
use crate::runtime::environment::Environment;
use crate::signer::{Signer, VerifiedSigner};
use crate::simulation::chain::SimulatedChain;
use crate::simulation::ledger::Ledger;
use crate::simulation::rng::SimulationRng;
use crate::simulation::signer::SimulatedSigner;
use crate::simulation::venue::{SimulatedMarket, SimulatedVenue};
use crate::simulation::venues::VENUES;
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
    /// Used instead of the wallet of the simulation.
    pub(super) signer: Option<Arc<dyn Signer>>,
}

impl Adapters {
    /// Checks the ids of the venues: each is unique, and a setting for a simulated venue names one that exists.
    pub(super) fn check(&self, settings: &Settings) -> Result<(), StartError> {
        let ids: Vec<_> = match &self.venues {
            Some(venues) => venues.iter().map(|venue| venue.id()).collect(),
            None => VENUES.iter().map(|venue| venue.id).collect(),
        };
        let mut seen = HashSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(**id)) {
            return Err(StartError::DuplicateVenue(*twice));
        }
        // The settings of the simulation do not apply to the caller's venues.
        if self.venues.is_some() {
            return Ok(());
        }
        let simulation = &settings.simulation;
        let named = [
            ("simulation.venues_down", &simulation.venues_down),
            ("simulation.venues_silent", &simulation.venues_silent),
        ];
        for (key, venues) in named {
            if let Some(unknown) = venues.iter().find(|venue| !seen.contains(venue)) {
                return Err(StartError::UnknownVenue { key, venue: *unknown, venues: ids });
            }
        }
        Ok(())
    }
}

/// Where orders are executed.
pub(super) struct Market {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) venues: Vec<Arc<dyn Venue>>,
    pub(super) signer: Arc<dyn Signer>,
}

/// Takes the caller's chain, venues and signer, and builds what is missing from the settings.
pub(super) fn market(
    chain: Option<Arc<dyn Chain>>,
    venues: Option<Vec<Arc<dyn Venue>>>,
    signer: Option<Arc<dyn Signer>>,
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
    let venues = venues.unwrap_or_else(|| simulation.venues());
    let signer = match signer {
        Some(signer) => Arc::new(VerifiedSigner::new(signer)),
        None => simulation.signer(),
    };
    Ok(Market { chain, venues, signer })
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

    fn venues(&self) -> Vec<Arc<dyn Venue>> {
        tracing::info!(seed = self.rng.seed(), "venues and chain are simulated");
        let market = SimulatedMarket {
            settings: self.settings.simulation.clone(),
            tokens: self.settings.tokens.clone(),
            rng: self.rng,
            clock: self.environment.clock,
        };
        SimulatedVenue::all(&VENUES, market).into_iter().map(|venue| -> Arc<dyn Venue> { Arc::new(venue) }).collect()
    }

    fn signer(&self) -> Arc<dyn Signer> {
        // A random wallet is enough: the simulation has no funds, so the key need not be kept.
        Arc::new(SimulatedSigner::new(&self.environment.random.bytes()))
    }
}

//! Why an engine does not start.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::auth::AuthStartError;
use crate::domain::id::VenueId;
use crate::simulation::ledger::LedgerError;
use crate::store::lock::LockError;

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another engine uses the database, or the database URL cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A setting names the database file for another purpose.
    #[error("{key}: {path:?} is the database")]
    SameFile {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Two venues have the same id.
    #[error("two venues have the id {0}")]
    DuplicateVenue(VenueId),
    /// A setting names a venue that the simulation does not have.
    #[error("{key}: there is no simulated venue {venue}, only {venues}", venues = .venues.iter().map(VenueId::name).collect::<Vec<_>>().join(", "))]
    UnknownVenue {
        /// The setting.
        key: &'static str,
        /// The venue that it names.
        venue: VenueId,
        /// The simulated venues.
        venues: Vec<VenueId>,
    },
    /// The ledger of the simulated chain cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database cannot be opened or read.
    #[error("the database cannot be used: {0}")]
    Database(String),
    /// The server cannot listen on its address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The host and the port, as the settings name them.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Other machines could reach the engine, and it would not authenticate them.
    #[error(
        "{key}: anyone who can reach {place} could trade, because auth.required is false; set it to true, or run serve \
         --insecure"
    )]
    Open {
        /// The setting through which they could.
        key: &'static str,
        /// What it names.
        place: String,
    },
    /// Authentication cannot start.
    #[error(transparent)]
    Auth(#[from] AuthStartError),
    /// A part of the engine stopped before the start was complete.
    #[error("a part of the engine stopped during the start")]
    Broken,
}

//! The list of the simulated venues.

use crate::domain::id::VenueId;

/// What distinguishes one simulated venue from another.
#[derive(Clone, Copy, Debug)]
pub struct VenueProfile {
    /// The id.
    pub id: VenueId,
    /// The fee, in millionths of the output.
    pub fee_ppm: u64,
}

/// Raydium, with a fee of 0.25 %.
pub const RAYDIUM: VenueProfile = VenueProfile { id: VenueId::named("raydium"), fee_ppm: 2_500 };

/// Meteora, with a fee of 0.30 %.
pub const METEORA: VenueProfile = VenueProfile { id: VenueId::named("meteora"), fee_ppm: 3_000 };

/// The venues of a simulation, in the venue order. A further venue is a line here.
///
/// The draws of prices and faults use the number of venues and the place of each, so the same seed gives other prices
/// after a change of this list.
pub const VENUES: [VenueProfile; 2] = [RAYDIUM, METEORA];

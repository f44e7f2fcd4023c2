//! What the engine runs on: its clock, its threads, the jitter of its waits, and the moments at which tests end it.

pub mod clock;
pub mod crash_points;
pub mod jitter;
pub mod placement;

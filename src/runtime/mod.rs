//! Environment (clock, random numbers, identities), thread placement, retry jitter, private files, files that are complete
//! or do not exist, the meaning of TLS errors, and the crash points of the fault tests.

pub mod clock;
pub mod crash_points;
pub mod environment;
pub mod jitter;
pub mod new_file;
pub mod placement;
pub mod private_file;
pub mod tls_failure;

//! Faults of the process, of its databases, of the chain and of the machine.

mod clock_steps;
#[cfg(feature = "failpoints")]
mod crash_points;
mod crashes;
mod kills;
mod ledger;
mod log_output;
mod machine_faults;
mod postgres_durability;
mod postgres_load;
mod postgres_lock;
mod postgres_outages;
mod redis_outages;
mod supervision;

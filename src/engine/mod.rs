//! The engine: starts every part in order and stops them without loss.
//!
//! [`Engine::start`] runs the engine that the settings describe. [`Engine::builder`] also takes a store, a chain or
//! venues of the caller, and can leave out HTTP.
//!
//! Read [`EngineBuilder`] for what can be chosen, `startup` for the start sequence, and `shutdown` for the stop
//! sequence.

mod adapters;
mod builder;
mod database;
mod error;
mod handle;
mod recovery;
mod server;
mod shutdown;
mod startup;
mod subscription;
mod supervised;
mod threads;

pub use self::builder::EngineBuilder;
pub use self::error::StartError;
pub use self::handle::Engine;
pub use self::subscription::Subscription;

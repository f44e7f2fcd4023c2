//! WebSockets. `one` sends one order's updates until the order ends; `many` subscribes to, submits and cancels orders
//! as its client asks. The other files are what both need.
//!
//! Only this folder uses `actix-web-actors`, which is deprecated and will be dropped by the next major version of
//! actix-web.

mod budget;
mod close;
mod fragments;
mod frame;
mod incoming;
mod many;
mod one;
mod pace;
mod pending;
mod progress;
mod query;
pub(super) mod reply;
mod session;
pub mod sessions;
mod snapshot;
mod subscriptions;

pub(super) use many::socket;
pub(super) use one::{by_path, by_query};
#[cfg(test)]
pub(super) use query::SocketQuery;

//! Authentication and authorization.

mod forged_tokens;
mod ownership;
mod users;

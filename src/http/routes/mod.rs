//! The routes: one file for each group of them.

pub(in crate::http) mod auth;
pub(in crate::http) mod cancel_all;
pub(in crate::http) mod dry_run;
pub(in crate::http) mod health;
pub(in crate::http) mod operator;
pub(in crate::http) mod orders;
pub(in crate::http) mod quotes;
pub(in crate::http) mod stats;
pub(in crate::http) mod tokens;

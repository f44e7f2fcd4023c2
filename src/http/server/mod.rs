//! The TCP connections of the server: how many may be open, what each client may hold, and which are ended from outside.
//! And the clients behind trusted proxies, whose connections are shared.

mod activity;
pub(in crate::http) mod client;
pub(in crate::http) mod connection;
pub(in crate::http) mod connections;
pub(in crate::http) mod descriptors;
pub(in crate::http) mod proxies;
pub(in crate::http) mod slots;
pub(in crate::http) mod socket_handle;

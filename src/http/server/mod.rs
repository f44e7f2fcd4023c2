//! The connections of the server, and the descriptors that they take.

pub(in crate::http) mod connections;
pub(in crate::http) mod descriptors;

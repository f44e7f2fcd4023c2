//! What routes read from a request: who sent it, and its body.

pub(in crate::http) mod authority;
pub(in crate::http) mod body;
pub(in crate::http) mod caller;

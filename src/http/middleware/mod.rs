//! What every request passes before its route.

pub(in crate::http) mod guard;
pub(in crate::http) mod host_check;
pub(in crate::http) mod limits;
pub(in crate::http) mod request_id;

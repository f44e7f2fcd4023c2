//! What every request passes before its route: the request id, the rate limit, and the checks of host and origin.

pub(in crate::http) mod guard;
pub(in crate::http) mod host_check;
mod limits;
pub(in crate::http) mod request_id;
mod response_headers;

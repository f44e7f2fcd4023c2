//! The security headers of every response, and the CORS headers for pages of an allowed origin.

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderMap, HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// The headers that scripts of another origin may read.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("location, ratelimit, ratelimit-policy, retry-after, x-request-id");

/// The policy of a response that is data: it loads and runs nothing.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The policy of an HTML page: it loads from this server only, runs no inline script, and connects to this server only.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                           font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// Adds the security headers: no content sniffing, no caching, no framing, no resources from other servers.
pub(super) fn harden(headers: &mut HeaderMap) {
    const STATIC: fn(&'static str) -> HeaderValue = HeaderValue::from_static;
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, STATIC("nosniff"));
    headers.insert(REFERRER_POLICY, STATIC("no-referrer"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, STATIC("no-store"));
    }
    if is_page {
        headers.insert(X_FRAME_OPTIONS, STATIC("DENY"));
    }
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, STATIC(if is_page { PAGE_POLICY } else { DATA_POLICY }));
    }
}

/// Lets pages of `origin` read the response.
pub(super) fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// The response to a CORS preflight; the browser may cache it for ten minutes.
pub(super) fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, idempotency-key, x-request-id"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "600"))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_may_load_from_this_server_and_a_response_keeps_its_own_cache_control() {
        let mut data = HeaderMap::new();
        harden(&mut data);
        assert_eq!(data.get(CONTENT_SECURITY_POLICY).unwrap(), DATA_POLICY);
        assert_eq!(data.get(CACHE_CONTROL).unwrap(), "no-store");
        assert!(!data.contains_key(X_FRAME_OPTIONS));
        let mut page = HeaderMap::new();
        page.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        page.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        harden(&mut page);
        assert_eq!(page.get(CONTENT_SECURITY_POLICY).unwrap(), PAGE_POLICY);
        assert_eq!(page.get(CACHE_CONTROL).unwrap(), "max-age=60");
        assert_eq!(page.get(X_FRAME_OPTIONS).unwrap(), "DENY");
    }
}

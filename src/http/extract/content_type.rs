//! A body must be announced as plain JSON.

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::api::problem::ProblemCode;
use crate::http::problem::{Problem, shown};

/// Refuses any media type but JSON, any charset but UTF-8 and any encoding.
pub(super) fn require_json(request: &HttpRequest) -> Result<(), Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused = |detail: String| Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return refused(format!("the body must be application/json, not {}", shown(media_type)));
    }
    let charset = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    if let Some((_, charset)) = charset
        && !charset.trim_matches('"').eq_ignore_ascii_case("utf-8")
    {
        return refused(format!("the body must be UTF-8, not {}", shown(charset)));
    }
    // A plain body with this header is refused too: it is readable, but its client is wrong about what it sends.
    let encodings = request.headers().get_all(CONTENT_ENCODING);
    match encodings.filter_map(|value| value.to_str().ok()).find(|value| !value.eq_ignore_ascii_case("identity")) {
        Some(encoding) => refused(format!("the body must have no Content-Encoding, not {}", shown(encoding))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_plain_json_in_utf_8_is_accepted() {
        let check = |content_type: &str, encoding: &str| {
            let request = TestRequest::default()
                .insert_header((CONTENT_TYPE, content_type))
                .insert_header((CONTENT_ENCODING, encoding))
                .to_http_request();
            require_json(&request).is_ok()
        };
        for good in ["application/json", "Application/JSON; charset=UTF-8", r#"application/json;charset="utf-8""#] {
            assert!(check(good, "identity"), "{good}");
        }
        for bad in ["", "text/plain", "application/jsonp", "application/json; charset=utf-16", "json"] {
            assert!(!check(bad, "identity"), "{bad}");
        }
        assert!(!check("application/json", "gzip"));
        assert!(require_json(&TestRequest::default().to_http_request()).is_err());
    }
}

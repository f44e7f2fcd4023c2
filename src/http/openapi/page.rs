//! The page at `/docs`: Swagger UI. Its files are compiled in, and it loads nothing from another server.

use std::sync::Arc;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use utoipa_swagger_ui::Config;

use crate::http::problem;

/// The files of Swagger UI that the page loads.
pub(super) const LOADED: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

const HTML: &str = include_str!("page.html");
const START: &str = include_str!("page.js");

/// The page itself.
pub(in crate::http) fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(HTML)
}

/// A file that the page loads.
pub(in crate::http) fn file(request: &HttpRequest, name: &str, openapi: Bytes) -> HttpResponse {
    match name {
        "start.js" => answer("text/javascript; charset=utf-8", Bytes::from_static(START.as_bytes())),
        // Served here too, because the operator's own address (`metrics.bind`) serves nothing else.
        "openapi.json" => answer("application/json", openapi),
        _ if LOADED.contains(&name) => {
            let file = utoipa_swagger_ui::serve(name, Arc::new(Config::from("openapi.json"))).ok().flatten();
            let file = file.expect("the crate contains the files of Swagger UI");
            answer(&file.content_type, file.bytes.into_owned().into())
        }
        _ => problem::nothing_at(request).error_response(),
    }
}

fn answer(content_type: &str, bytes: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type(content_type).body(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_compiled_in_and_none_is_loaded_from_another_server() {
        for name in LOADED {
            assert!(HTML.contains(&format!("docs/{name}")), "{name}");
            let file = utoipa_swagger_ui::serve(name, Arc::new(Config::from("openapi.json"))).unwrap();
            assert!(!file.unwrap().bytes.is_empty(), "{name}");
        }
        assert!(!HTML.contains("//") && !START.contains("//"));
    }
}

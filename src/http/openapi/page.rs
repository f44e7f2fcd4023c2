//! The page at `/docs`: Swagger UI. Its files are compiled in, and it loads nothing from another server.

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use crate::http::problem;

/// A file of Swagger UI; the build script unpacks it.
pub(super) struct LoadedFile {
    pub(super) name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// The files of Swagger UI that the page loads.
pub(super) const LOADED: [LoadedFile; 2] = [
    LoadedFile {
        name: "swagger-ui.css",
        content_type: "text/css",
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css")),
    },
    LoadedFile {
        name: "swagger-ui-bundle.js",
        content_type: "text/javascript",
        bytes: include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js")),
    },
];

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
        _ => match LOADED.iter().find(|file| file.name == name) {
            Some(file) => answer(file.content_type, Bytes::from_static(file.bytes)),
            None => problem::nothing_at(request).error_response(),
        },
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
        for file in LOADED {
            assert!(HTML.contains(&format!("docs/{}", file.name)), "{}", file.name);
            assert!(!file.bytes.is_empty(), "{}", file.name);
        }
        assert!(!HTML.contains("//") && !START.contains("//"));
    }
}

//! The page at `/docs`: Swagger UI, whose files are compiled in. It asks no other server for anything.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use utoipa_swagger_ui::Config;

use crate::http::openapi::OPENAPI_TEXT;
use crate::http::problem;

/// Where it is.
pub(in crate::http) const PATH: &str = "/docs";

/// Those files of Swagger UI that the page loads.
pub(in crate::http) const LOADED: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

const HTML: &str = include_str!("page.html");
const START: &str = include_str!("page.js");

/// The page itself.
pub(in crate::http) fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(HTML)
}

/// A file that the page loads.
pub(in crate::http) fn file(request: &HttpRequest, name: &str) -> HttpResponse {
    match name {
        "start.js" => answer("text/javascript; charset=utf-8", START.as_bytes().to_vec()),
        // Here too, for the address of the operator's own serves nothing else.
        "openapi.json" => answer("application/json", OPENAPI_TEXT.as_bytes().to_vec()),
        _ if LOADED.contains(&name) => {
            let file = utoipa_swagger_ui::serve(name, Arc::new(Config::from("openapi.json"))).ok().flatten();
            let file = file.expect("the crate has the files of Swagger UI");
            answer(&file.content_type, file.bytes.into_owned())
        }
        _ => problem::nothing_at(request).error_response(),
    }
}

fn answer(content_type: &str, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().content_type(content_type).insert_header((CACHE_CONTROL, "no-cache")).body(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_there_and_none_is_asked_of_another_server() {
        for name in LOADED {
            assert!(HTML.contains(&format!("docs/{name}")), "{name}");
            let file = utoipa_swagger_ui::serve(name, Arc::new(Config::from("openapi.json"))).unwrap();
            assert!(!file.unwrap().bytes.is_empty(), "{name}");
        }
        assert!(!HTML.contains("//") && !START.contains("//"));
    }
}

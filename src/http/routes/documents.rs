//! The documents of the API, and the page that shows them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use crate::api::problem::ProblemCode;
use crate::http::AppState;
use crate::http::openapi::{Documents, page, requests};
use crate::http::operation::{Access, Content, Operation, get};
use crate::http::routes::operator;

pub(super) fn operations() -> Vec<Operation> {
    let documents = [
        get("/api/openapi.json", Access::Public, openapi).named("getOpenApi", "Get this document"),
        get("/api/asyncapi.json", Access::Public, asyncapi)
            .named("getAsyncApi", "Get the AsyncAPI document of the WebSockets"),
        get("/api/postman.json", Access::Public, postman)
            .named("getPostman", "Get the operations as a Postman collection"),
    ];
    let documents = documents.map(|operation| {
        let content = json!({ "application/json": { "schema": { "type": "object" } } });
        operation.revalidated().answers_with(200, "the document", Content::Other(content))
    });
    let html = json!({ "text/html": { "schema": { "type": "string" } } });
    let any = json!({ "schema": {} });
    let files = json!({ "text/css": any, "text/javascript": any, "application/json": any });
    let page = [
        get("/docs", Access::Operator, docs).named("getDocs", "Get a page that shows this document").answers_with(
            200,
            "the page",
            Content::Other(html),
        ),
        get("/docs/{file}", Access::Operator, docs_file)
            .named("getDocsFile", "Get a file of that page")
            .revalidated()
            .takes([requests::file()])
            .answers_with(200, "the file", Content::Other(files))
            .problems([ProblemCode::NoSuchRoute]),
    ];
    documents.into_iter().chain(page).collect()
}

async fn openapi(documents: web::Data<Documents>) -> HttpResponse {
    json_document(documents.openapi())
}

async fn asyncapi(documents: web::Data<Documents>) -> HttpResponse {
    json_document(documents.asyncapi())
}

async fn postman(documents: web::Data<Documents>) -> HttpResponse {
    json_document(documents.postman())
}

fn json_document(text: web::Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(text)
}

async fn docs(request: HttpRequest, app: web::Data<AppState>) -> HttpResponse {
    operator::refuse_page(&request, &app).unwrap_or_else(page::page)
}

async fn docs_file(
    request: HttpRequest,
    app: web::Data<AppState>,
    documents: web::Data<Documents>,
    file: web::Path<String>,
) -> HttpResponse {
    operator::refuse_page(&request, &app).unwrap_or_else(|| page::file(&request, &file, documents.openapi()))
}

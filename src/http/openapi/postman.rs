//! The OpenAPI document as a Postman collection, format 2.1.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::PublicUrl;

const FORMAT: &str = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";

/// One folder per tag, one request per operation.
pub(super) fn collection(openapi: &Value, public_url: Option<&PublicUrl>) -> Value {
    let base_url = public_url.map_or_else(|| "http://127.0.0.1:3000".to_owned(), PublicUrl::to_string);
    let mut folders: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (path, item) in openapi["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            folders.entry(tag).or_default().push(request(path, method, operation));
        }
    }
    let folders: Vec<_> = folders.into_iter().map(|(name, item)| json!({ "name": name, "item": item })).collect();
    json!({
        "info": {
            "name": openapi["info"]["title"],
            "description": openapi["info"]["description"],
            "version": openapi["info"]["version"],
            "schema": FORMAT,
        },
        "auth": { "type": "bearer", "bearer": [{ "key": "token", "value": "{{token}}", "type": "string" }] },
        "variable": [{ "key": "baseUrl", "value": base_url }, { "key": "token", "value": "" }],
        "item": folders,
    })
}

fn request(path: &str, method: &str, operation: &Value) -> Value {
    let parameters = || operation["parameters"].as_array().into_iter().flatten();
    let of = |place: &'static str| parameters().filter(move |parameter| parameter["in"] == place);
    let pair = |parameter: &Value| {
        json!({
            "key": parameter["name"],
            "value": parameter["schema"]["examples"][0].as_str().unwrap_or_default(),
            "description": parameter["description"],
            "disabled": parameter["required"] != true,
        })
    };
    let query: Vec<_> = of("query").map(pair).collect();
    let variables: Vec<_> = of("path")
        .map(|parameter| json!({ "key": parameter["name"], "value": "", "description": parameter["description"] }))
        .collect();
    let mut headers: Vec<_> = of("header").map(pair).collect();
    // Postman writes a path parameter as :id, OpenAPI as {id}.
    let segments: Vec<_> = path.trim_start_matches('/').split('/').map(variable).collect();
    let mut request = json!({
        "method": method.to_uppercase(),
        "description": operation["description"],
        "url": {
            "raw": format!("{{{{baseUrl}}}}/{}", segments.join("/")),
            "host": ["{{baseUrl}}"],
            "path": segments,
            "query": query,
            "variable": variables,
        },
    });
    let examples = &operation["requestBody"]["content"]["application/json"]["examples"];
    if let Some((_, example)) = examples.as_object().and_then(|examples| examples.iter().next()) {
        headers.push(json!({ "key": "content-type", "value": "application/json" }));
        let raw = serde_json::to_string_pretty(&example["value"]).unwrap_or_default();
        request["body"] = json!({ "mode": "raw", "raw": raw, "options": { "raw": { "language": "json" } } });
    }
    request["header"] = json!(headers);
    if operation["security"] == json!([]) {
        request["auth"] = json!({ "type": "noauth" });
    }
    json!({ "name": operation["summary"], "request": request, "response": [] })
}

fn variable(segment: &str) -> String {
    match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        Some(name) => format!(":{name}"),
        None => segment.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_one_request() {
        let openapi = &crate::http::openapi::document::document(&crate::http::routes::GROUPS, None);
        let operations: usize =
            openapi["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
        let collection = collection(openapi, None);
        let folders = collection["item"].as_array().unwrap();
        let requests: Vec<_> = folders.iter().flat_map(|folder| folder["item"].as_array().unwrap()).collect();
        assert_eq!(requests.len(), operations);
        let submit = requests.iter().find(|request| request["name"] == "Submit an order").unwrap();
        assert_eq!(submit["request"]["url"]["raw"], "{{baseUrl}}/api/orders");
        assert!(submit["request"]["body"]["raw"].as_str().unwrap().contains("tokenIn"));
        let events = requests.iter().find(|request| request["name"] == "Get the timeline of an order").unwrap();
        assert_eq!(events["request"]["url"]["raw"], "{{baseUrl}}/api/orders/:id/events");
        assert_eq!(events["request"]["url"]["variable"][0]["key"], "id");
    }
}

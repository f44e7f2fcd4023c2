//! The documents of the API: OpenAPI and a Postman collection for HTTP, AsyncAPI for the WebSockets, and a [`page`]
//! that shows the OpenAPI document.
//!
//! OpenAPI is made from the operations from which the server is configured too; Postman is made from OpenAPI. The
//! schemas of answers come from the types that are serialized.

mod asyncapi;
mod document;
mod examples;
mod operation;
pub(super) mod page;
mod postman;
mod problems;
pub(super) mod requests;

use std::sync::OnceLock;

use actix_web::web::Bytes;

use crate::config::PublicUrl;
use crate::http::operation::Group;

/// The documents of a server. They are made when the first one is read.
pub(super) struct Documents {
    groups: &'static [Group],
    public_url: Option<PublicUrl>,
    texts: OnceLock<Texts>,
}

struct Texts {
    openapi: Bytes,
    asyncapi: Bytes,
    postman: Bytes,
}

impl Documents {
    /// The documents of these operations, for a server with that public URL.
    pub(super) fn new(groups: &'static [Group], public_url: Option<PublicUrl>) -> Self {
        Self { groups, public_url, texts: OnceLock::new() }
    }

    /// The OpenAPI document.
    pub(super) fn openapi(&self) -> Bytes {
        self.texts().openapi.clone()
    }

    /// The AsyncAPI document.
    pub(super) fn asyncapi(&self) -> Bytes {
        self.texts().asyncapi.clone()
    }

    /// The Postman collection.
    pub(super) fn postman(&self) -> Bytes {
        self.texts().postman.clone()
    }

    fn texts(&self) -> &Texts {
        self.texts.get_or_init(|| {
            let url = self.public_url.as_ref();
            let openapi = document::document(self.groups, url);
            Texts {
                postman: postman::collection(&openapi, url).to_string().into(),
                openapi: openapi.to_string().into(),
                asyncapi: asyncapi::document(url).to_string().into(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::GROUPS;

    #[test]
    fn no_description_has_the_link_syntax_of_rustdoc() {
        let documents = Documents::new(&GROUPS, None);
        for document in [documents.openapi(), documents.asyncapi(), documents.postman()] {
            let text = std::str::from_utf8(&document).unwrap();
            let link = text.find("[`").map(|start| text[start..].chars().take(80).collect::<String>());
            assert_eq!(link, None);
        }
    }
}

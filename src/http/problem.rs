//! Errors as RFC 9457 problem details, each with a stable code.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::problem::ProblemCode;
use crate::domain::id::OrderId;
use crate::http::middleware::request_id;
use crate::service::orders::ServiceError;

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// The field, by the name that the client used.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// The invalid fields of a request: the first ones, and the number of further ones.
///
/// The size is bounded, because a small request must not cause a large answer.
#[derive(Clone, Debug, Default)]
pub struct FieldErrors {
    listed: Vec<FieldError>,
    more: usize,
}

impl FieldErrors {
    /// The most errors that are listed.
    pub const MAX_LISTED: usize = 20;
    // A longer name or message is cut.
    const MAX_FIELD_LENGTH: usize = 64;
    const MAX_MESSAGE_LENGTH: usize = 256;

    /// Adds an error.
    pub fn push(&mut self, field: &str, message: impl Into<String>) {
        if self.listed.len() < Self::MAX_LISTED {
            let mut message = message.into();
            if let Some((cut, _)) = message.char_indices().nth(Self::MAX_MESSAGE_LENGTH) {
                message.truncate(cut);
            }
            self.listed.push(FieldError { field: field.chars().take(Self::MAX_FIELD_LENGTH).collect(), message });
        } else {
            self.more += 1;
        }
    }

    /// Whether there are no errors.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The number of errors, listed or not.
    pub fn len(&self) -> usize {
        self.listed.len() + self.more
    }
}

/// Text of a client, as an error message repeats it: quoted, and cut if it is long.
pub(super) fn shown(text: &str) -> String {
    const MAX_LENGTH: usize = 32;
    match text.char_indices().nth(MAX_LENGTH) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
    }
}

/// An error answer.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<ProblemDetails>);

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Problem")]
pub(super) struct ProblemDetails {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    pub(super) detail: String,
    pub(super) code: &'static str,
    pub(super) retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<FieldError>,
    /// The number of invalid fields that `errors` does not list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) more_errors: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) order_id: Option<OrderId>,
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
    #[serde(skip)]
    location: Option<String>,
}

impl Problem {
    /// A problem of the type `about:blank`, whose title is the reason phrase of the status.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self(Box::new(ProblemDetails {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.name(),
            retryable: code.retryable(),
            request_id: request_id::current(),
            errors: Vec::new(),
            more_errors: None,
            order_id: None,
            retry_after_seconds: None,
            location: None,
        }))
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// Asks the client to wait this number of seconds before it retries.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// Adds the order that it concerns, and the path of the order.
    pub fn about(mut self, order: OrderId, location: Option<String>) -> Self {
        self.0.order_id = Some(order);
        self.0.location = location;
        self
    }

    /// A request with invalid fields.
    pub fn invalid(errors: FieldErrors) -> Self {
        let detail = match (errors.listed.as_slice(), errors.more) {
            ([one], 0) => format!("{}: {}", one.field, one.message),
            (many, 0) => format!("{} fields are invalid", many.len()),
            (listed, _) => format!("{} fields are invalid; {} of them are listed", errors.len(), listed.len()),
        };
        let mut problem = Self::new(ProblemCode::InvalidRequest, detail);
        problem.0.more_errors = (errors.more > 0).then_some(errors.more);
        problem.0.errors = errors.listed;
        problem
    }

    /// A request with one invalid field.
    pub fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        let mut errors = FieldErrors::default();
        errors.push(field, message);
        Self::invalid(errors)
    }

    /// The fields, for messages on WebSockets.
    pub(super) fn details(&self) -> &ProblemDetails {
        &self.0
    }

    /// The order does not exist, or belongs to another owner.
    pub fn unknown_order(id: OrderId) -> Self {
        Self::new(ProblemCode::OrderNotFound, format!("there is no order {id}"))
    }

    /// The order exists, but its stored rows must be repaired before it can be read.
    pub fn unreadable_order(id: Option<OrderId>) -> Self {
        let problem = Self::from(ProblemCode::OrderUnreadable);
        match id {
            Some(id) => problem.about(id, None),
            None => problem,
        }
    }

    /// The engine cannot answer at the moment.
    pub fn unavailable() -> Self {
        Self::from(ProblemCode::Unavailable).retry_after(1)
    }
}

impl From<ProblemCode> for Problem {
    fn from(code: ProblemCode) -> Self {
        Self::new(code, code.meaning())
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unknown(id) => Self::unknown_order(id),
            ServiceError::Unreadable(id) => Self::unreadable_order(Some(id)),
            ServiceError::Unavailable => Self::unavailable(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(seconds) = self.0.retry_after_seconds {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if let Some(location) = &self.0.location {
            response.insert_header(("location", location.as_str()));
        }
        let body = serde_json::to_vec(self).expect("a problem contains only strings and numbers");
        response.content_type("application/problem+json").body(body)
    }
}

/// The answer for a method that the path does not have.
pub(super) fn wrong_method(request: &HttpRequest) -> Problem {
    Problem::new(ProblemCode::MethodNotAllowed, format!("{} does not have {}", request.path(), request.method()))
}

/// The answer for a path that is not served.
pub(super) async fn no_such_route(request: HttpRequest) -> Problem {
    nothing_at(&request)
}

/// The answer for a path that is not served to this request.
pub(super) fn nothing_at(request: &HttpRequest) -> Problem {
    Problem::new(ProblemCode::NoSuchRoute, format!("nothing is served at {} {}", request.method(), request.path()))
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

//! Errors as RFC 9457 problem details, each with a stable code.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::id::OrderId;
use crate::http::middleware::request_id;
use crate::service::orders::ServiceError;

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// The field, as the client named it.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// What is wrong with the fields of a request: the first of them, and how many more there are.
///
/// Bounded, whatever was sent: a small request must not become a large answer.
#[derive(Clone, Debug, Default)]
pub struct FieldErrors {
    told: Vec<FieldError>,
    more: usize,
}

impl FieldErrors {
    /// So many are told one by one.
    pub const MOST: usize = 20;
    /// A longer name or message is cut.
    const LONGEST_FIELD: usize = 64;
    const LONGEST_MESSAGE: usize = 256;

    /// Adds one.
    pub fn push(&mut self, field: &str, message: impl Into<String>) {
        if self.told.len() < Self::MOST {
            let mut message = message.into();
            if let Some((cut, _)) = message.char_indices().nth(Self::LONGEST_MESSAGE) {
                message.truncate(cut);
            }
            self.told.push(FieldError { field: field.chars().take(Self::LONGEST_FIELD).collect(), message });
        } else {
            self.more += 1;
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// How many there are, told or not.
    pub fn len(&self) -> usize {
        self.told.len() + self.more
    }
}

/// What a client sent, as it is repeated in an error: quoted, and cut where it is long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 32;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
    }
}

/// An error as the client sees it.
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
    /// How many more fields are wrong than `errors` tells.
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
    /// A problem; its type is `about:blank`, so its title is the status's own.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            retryable: false,
            request_id: request_id::current(),
            errors: Vec::new(),
            more_errors: None,
            order_id: None,
            retry_after_seconds: None,
            location: None,
        }))
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The same request may succeed after so many seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retryable = true;
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// It concerns that order, which is asked for at `location`.
    pub fn about(mut self, order: OrderId, location: Option<String>) -> Self {
        self.0.order_id = Some(order);
        self.0.location = location;
        self
    }

    /// A request that does not hold together, with what is wrong with it.
    pub fn invalid(errors: FieldErrors) -> Self {
        let detail = match (errors.told.as_slice(), errors.more) {
            ([one], 0) => format!("{}: {}", one.field, one.message),
            (many, 0) => format!("{} fields are wrong", many.len()),
            (told, more) => {
                format!("{} fields are wrong: {} are told, and there are {more} more", errors.len(), told.len())
            }
        };
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail);
        problem.0.more_errors = (errors.more > 0).then_some(errors.more);
        problem.0.errors = errors.told;
        problem
    }

    /// A request of which one field is wrong.
    pub fn invalid_field(field: &str, message: impl Into<String>) -> Self {
        let mut errors = FieldErrors::default();
        errors.push(field, message);
        Self::invalid(errors)
    }

    /// What it says, for telling it another way.
    pub(super) fn details(&self) -> &ProblemDetails {
        &self.0
    }

    /// There is no such order, or none that the client may see.
    pub fn unknown_order(id: OrderId) -> Self {
        Self::new(StatusCode::NOT_FOUND, "order_not_found", format!("there is no order {id}"))
    }

    /// The order exists, and its stored rows have to be repaired before it can be read.
    pub fn unreadable_order(id: Option<OrderId>) -> Self {
        let detail = "the order is stored in a way that this version cannot read; its operator has to repair it";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "order_unreadable", detail);
        match id {
            Some(id) => problem.about(id, None),
            None => problem,
        }
    }

    /// No answer can be had just now.
    pub fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no answer can be had just now").retry_after(1)
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
        let body = serde_json::to_vec(self).expect("a problem holds only strings and numbers");
        response.content_type("application/problem+json").body(body)
    }
}

/// The answer for a method that a path does not take.
pub(super) fn wrong_method(request: &HttpRequest) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} does not take {}", request.path(), request.method()),
    )
}

/// The answer for a path that is not served.
pub(super) async fn no_such_route(request: HttpRequest) -> Problem {
    nothing_at(&request)
}

/// Nothing is served there.
pub(super) fn nothing_at(request: &HttpRequest) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_route",
        format!("nothing is served at {} {}", request.method(), request.path()),
    )
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

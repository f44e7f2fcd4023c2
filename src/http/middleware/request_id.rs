//! Gives every request an id, which is in the response and in the log lines, so that a report can be matched to the log.
//! The log lines have the address of the client too.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use tracing::Instrument;
use uuid::Uuid;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LENGTH: usize = 64;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request that the current task handles.
pub(in crate::http) fn current() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// The middleware: uses the client's id if it is valid and a new one otherwise, and adds it to the response.
pub(in crate::http) async fn assign(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let given = request.headers().get(&HEADER).and_then(|value| value.to_str().ok());
    let id = given.filter(|id| is_valid(id)).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    // The guard, which knows the proxies, adds the client.
    let span = tracing::info_span!("request", request_id = %id, client = tracing::field::Empty);
    REQUEST_ID
        .scope(id.clone(), async move {
            let mut response = next.call(request).instrument(span).await?;
            if let Ok(value) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(HEADER, value);
            }
            Ok(response)
        })
        .await
}

fn is_valid(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_LENGTH
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}

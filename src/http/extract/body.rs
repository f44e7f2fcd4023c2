//! Reads the body of a request, within limits of size and time.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, BytesMut, Data, Payload};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::api::problem::ProblemCode;
use crate::http::AppState;
use crate::http::extract::content_type::require_json;
use crate::http::extract::fields::FieldReader;
use crate::http::problem::Problem;
use crate::http::server::connection::Connection;

/// A larger body is refused with 413.
const MAX_BODY: usize = 64 * 1024;

/// Reads a JSON body.
pub(in crate::http) async fn read(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    require_json(request)?;
    read_bytes(request, payload).await
}

/// Reads the body of a request whose fields narrow down what it does to every order; without a body it means them all.
///
/// An empty body is refused if a header announces one: its filter may have been lost on the way.
pub(in crate::http) async fn read_filter(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    let body = read_optional(request, payload).await?;
    if body.is_empty() && request.headers().contains_key(CONTENT_TYPE) {
        let detail = "Content-Type is set and the body is empty; send {} to mean every order";
        return Err(Problem::new(ProblemCode::InvalidJson, detail));
    }
    Ok(body)
}

/// Reads the body of a request that takes none: nothing, or a JSON object without fields.
///
/// A field is refused by its name: the client expects an effect that the field does not have.
pub(in crate::http) async fn read_nothing(request: &HttpRequest, payload: Payload) -> Result<(), Problem> {
    let body = read_optional(request, payload).await?;
    if body.is_empty() { Ok(()) } else { FieldReader::of_body(&body)?.refuse_all() }
}

async fn read_optional(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    let bytes = read_bytes(request, payload).await?;
    if !bytes.is_empty() {
        require_json(request)?;
    }
    Ok(bytes)
}

async fn read_bytes(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    let app = request.app_data::<Data<AppState>>().expect("every app has its state");
    let body_timeout = app.settings.server.body_timeout;
    let connection = request.conn_data::<Arc<Connection>>();
    let body = timeout(body_timeout, collect(payload, connection)).await.unwrap_or_else(|_| {
        let detail = format!("the body must arrive within {} ms", body_timeout.as_millis());
        Err(Problem::new(ProblemCode::BodyTooSlow, detail))
    })?;
    if let Some(connection) = connection {
        connection.end_body();
    }
    Ok(body)
}

/// Collects a body up to its limit. `to_bytes_limited` would take 32 KiB for each body, and an order needs a few hundred
/// bytes.
async fn collect(mut payload: Payload, connection: Option<&Arc<Connection>>) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    while let Some(piece) = next_piece(&mut payload, connection).await {
        let piece = piece
            .map_err(|error| Problem::new(ProblemCode::InvalidJson, format!("the body cannot be read: {error}")))?;
        if body.len() + piece.len() > MAX_BODY {
            let detail = format!("the body must not be larger than {MAX_BODY} bytes");
            return Err(Problem::new(ProblemCode::BodyTooLarge, detail));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// The next piece of a body.
///
/// Between the chunks of a body a client may send chunk extensions and trailers, which have no limit. So a client that
/// sends bytes while no piece of the body arrives is refused.
async fn next_piece(
    payload: &mut Payload,
    connection: Option<&Arc<Connection>>,
) -> Option<Result<Bytes, PayloadError>> {
    const MAX_CHECKS: u32 = 5;
    const CHECK_INTERVAL: Duration = Duration::from_millis(200);
    let Some(connection) = connection.filter(|connection| connection.is_body_open()) else {
        return payload.next().await;
    };
    let mut checks_with_input = 0;
    loop {
        if let Ok(piece) = timeout(CHECK_INTERVAL, payload.next()).await {
            return piece;
        }
        checks_with_input += u32::from(connection.has_input());
        if checks_with_input >= MAX_CHECKS {
            return Some(Err(PayloadError::Overflow));
        }
    }
}

//! The answer to an HTTP request: a JSON body, or why there is none.

use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::StatusCode;
use serde_json::Value;

use super::target::Target;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct RequestFailed {
    reason: String,
    answer: Answer,
    /// Whether the same request may succeed later.
    pub(super) retryable: bool,
}

/// What came back instead of a success.
#[derive(Debug)]
enum Answer {
    /// No complete answer; `sent` means that the request may have reached the engine.
    None { sent: bool },
    /// A problem; `unknown` means that the engine itself does not know the outcome.
    Problem { unknown: bool },
}

impl RequestFailed {
    /// Whether the engine may have done what was requested.
    pub(super) fn may_be_done(&self) -> bool {
        match self.answer {
            Answer::None { sent } => sent,
            Answer::Problem { unknown } => unknown,
        }
    }
}

/// Reads the JSON body of a successful answer.
pub(super) async fn read<S>(
    target: &Target,
    answer: Result<awc::ClientResponse<S>, SendRequestError>,
) -> Result<Value, RequestFailed>
where
    S: futures_util::Stream<Item = Result<actix_web::web::Bytes, PayloadError>> + Unpin,
{
    const MAX_BODY: usize = 16 * 1024 * 1024;
    let no_answer = |error: &dyn std::error::Error, sent| RequestFailed {
        reason: format!("{}: {error}", target.url()),
        answer: Answer::None { sent },
        retryable: sent,
    };
    let mut response = answer.map_err(|error| no_answer(&error, may_be_sent(&error)))?;
    let status = response.status();
    let body: Value = response.json().limit(MAX_BODY).await.map_err(|error| no_answer(&error, true))?;
    if status.is_success() {
        return Ok(body);
    }
    Err(RequestFailed {
        reason: describe(status, &body),
        answer: Answer::Problem { unknown: body["code"] == "outcome_unknown" },
        retryable: body["retryable"] == true,
    })
}

/// Whether a request without an answer may have reached the engine.
///
/// `awc` also reports a connection that ends too early as a connect error. Only errors before the first byte count as
/// not sent.
fn may_be_sent(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) => error.kind() != std::io::ErrorKind::ConnectionRefused,
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => false,
        SendRequestError::Url(_) => false,
        _ => true,
    }
}

/// The status, the code and the detail of a problem, and one line for each wrong field.
fn describe(status: StatusCode, problem: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (code, detail) = (problem["code"].as_str().unwrap_or("error"), text(&problem["detail"]));
    let errors = problem["errors"].as_array().into_iter().flatten();
    let fields: Vec<_> =
        errors.map(|error| format!("\n  {}: {}", text(&error["field"]), text(&error["message"]))).collect();
    format!("{} {code}: {detail}{}", status.as_u16(), fields.concat())
}

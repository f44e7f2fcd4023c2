//! A client of the public API, for the commands that speak to a running engine.

use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::System;
use awc::error::{ConnectError, SendRequestError};
use awc::http::StatusCode;
use awc::ws::{CloseCode, Frame, Message};
use futures_util::{SinkExt, StreamExt};
use order_engine::config::{ConfigError, environment_mistakes, variable};
use order_engine::domain::secret::Secret;
use serde_json::Value;
use url::Url;

use super::output::{self, OutputError};
use super::{CommandError, exit};

#[derive(clap::Args)]
pub(super) struct Server {
    /// Where the engine is served [env: ORDER_ENGINE_URL] [default: http://127.0.0.1:3000]
    #[arg(long)]
    url: Option<String>,
    /// Who asks: the token of a login, or an API key [env: ORDER_ENGINE_TOKEN]
    #[arg(long)]
    token: Option<Secret>,
}

/// Where the engine is served and who asks, both checked.
struct ServerAddress {
    /// Without a slash at the end.
    url: String,
    token: Option<Secret>,
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a command that waits for something.
pub(super) fn block_on(
    command: impl Future<Output = Result<ExitCode, CommandError>>,
) -> Result<ExitCode, CommandError> {
    // A misspelled ORDER_ENGINE_URL would have another engine asked.
    let mistakes = environment_mistakes();
    if !mistakes.is_empty() {
        return Err(ConfigError(mistakes).into());
    }
    System::new().block_on(command)
}

impl Server {
    /// `GET` with a query, or the problem it was answered with.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CommandError> {
        let target = self.target()?;
        let answer = target.client().get(target.at(path)).query(&query)?.send().await;
        target.answer(answer).await
    }

    /// `POST` with a JSON body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        let target = self.target()?;
        let answer = target.client().post(target.at(path)).send_json(body).await;
        target.answer(answer).await
    }

    /// `POST` of an order under its key, again under the same key while no answer says what became of it.
    ///
    /// A lost answer must not buy twice, so nothing here is sent without the key.
    pub(super) async fn post_order(&self, order: &Value, key: &str) -> Result<Value, CommandError> {
        const TRIES: u32 = 5;
        let target = self.target()?;
        let client = target.client();
        // Whether the engine may have taken the order although it did not say so.
        let mut maybe_taken = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let request = client.post(target.at("/api/orders/execute")).insert_header(("idempotency-key", key));
            let refusal = match target.outcome(request.send_json(order).await).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            maybe_taken |= refusal.may_be_done();
            let again = refusal.retryable || maybe_taken;
            if !again || tries == TRIES {
                return Err(match maybe_taken {
                    true => {
                        format!("{refusal}\nwhether the order was taken is not known: repeat with --key {key}").into()
                    }
                    false => refusal.to_string().into(),
                });
            }
            output::note(format_args!("{refusal}; asking again with the same key"));
            tokio::time::sleep(Duration::from_millis(250 << tries)).await;
        }
    }

    /// Follows an order to its end, printing each step, and says by the exit code how it ended.
    ///
    /// A lost connection is taken up again where it broke off.
    pub(super) async fn follow(&self, id: &str, after_seq: u64, json: bool) -> Result<ExitCode, CommandError> {
        self.target()?.follow(id, after_seq, json).await
    }

    fn target(&self) -> Result<ServerAddress, ConfigError> {
        let (url, token) =
            (given(self.url.as_deref(), "--url"), given(self.token.as_ref().map(Secret::expose), "--token"));
        let url = match url.or_else(|| environment("ORDER_ENGINE_URL").transpose()) {
            Some(url) => usable_url(url?)?,
            None => "http://127.0.0.1:3000".to_owned(),
        };
        let token = token.or_else(|| environment("ORDER_ENGINE_TOKEN").transpose());
        Ok(ServerAddress { url, token: token.map(|token| usable_token(token?)).transpose()? })
    }
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct RequestFailed {
    reason: String,
    answer: HttpReply,
    /// Whether the same request may succeed later.
    retryable: bool,
}

/// What came back instead.
#[derive(Debug)]
enum HttpReply {
    /// Nothing; `sent` tells whether the request may have reached the engine.
    None { sent: bool },
    /// A problem; `undecided` where the engine itself does not know what became of the request.
    Problem { undecided: bool },
}

impl RequestFailed {
    /// Whether what was asked for may have been done all the same.
    fn may_be_done(&self) -> bool {
        match self.answer {
            HttpReply::None { sent } => sent,
            HttpReply::Problem { undecided } => undecided,
        }
    }
}

/// Whether a request that got no answer may have reached the engine. A connection that ends too early is a connect error
/// to this library as well, so only those count that come before any byte is sent.
fn may_be_sent(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) => error.kind() != std::io::ErrorKind::ConnectionRefused,
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => false,
        SendRequestError::Url(_) => false,
        _ => true,
    }
}

/// A text and where it was given, for errors that must not repeat it.
type Named = (String, &'static str);

fn given(text: Option<&str>, name: &'static str) -> Option<Result<Named, ConfigError>> {
    text.map(|text| Ok((text.to_owned(), name)))
}

fn environment(name: &'static str) -> Result<Option<Named>, ConfigError> {
    let text = variable(name).map_err(|error| ConfigError(vec![error]))?;
    Ok(text.map(|text| (text, name)))
}

fn usable_url((text, name): Named) -> Result<String, ConfigError> {
    let wrong = |reason: &str| Err(ConfigError(vec![format!("{name}: {reason}")]));
    match Url::parse(text.trim()) {
        Ok(url) if url.scheme() != "http" => wrong("must begin with http://; TLS is not built in"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("must not hold a user or a password, which would not be sent; say who asks with a token")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => wrong("must end with its path"),
        Ok(url) => Ok(url.as_str().trim_end_matches('/').to_owned()),
        Err(_) => wrong("is no URL, such as http://127.0.0.1:3000"),
    }
}

fn usable_token((text, name): Named) -> Result<Secret, ConfigError> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(text)),
        false => {
            Err(ConfigError(vec![format!("{name}: is empty, or holds a line break or another character of no token")]))
        }
    }
}

impl ServerAddress {
    fn client(&self) -> awc::Client {
        let client = awc::Client::builder().timeout(PATIENCE);
        match &self.token {
            Some(token) => client.bearer_auth(token.expose()).finish(),
            None => client.finish(),
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn answer<S>(&self, answer: Result<awc::ClientResponse<S>, SendRequestError>) -> Result<Value, CommandError>
    where
        S: futures_util::Stream<Item = Result<actix_web::web::Bytes, awc::error::PayloadError>> + Unpin,
    {
        self.outcome(answer).await.map_err(|refusal| refusal.to_string().into())
    }

    async fn outcome<S>(&self, answer: Result<awc::ClientResponse<S>, SendRequestError>) -> Result<Value, RequestFailed>
    where
        S: futures_util::Stream<Item = Result<actix_web::web::Bytes, awc::error::PayloadError>> + Unpin,
    {
        let mut response = answer.map_err(|error| {
            let sent = may_be_sent(&error);
            RequestFailed {
                reason: format!("{}: {error}", self.url),
                answer: HttpReply::None { sent },
                retryable: sent,
            }
        })?;
        let status = response.status();
        let body: Value = response.json().limit(16 * 1024 * 1024).await.map_err(|error| RequestFailed {
            reason: format!("{}: {error}", self.url),
            answer: HttpReply::None { sent: true },
            retryable: true,
        })?;
        if status.is_success() {
            return Ok(body);
        }
        let retryable = body["retryable"] == true;
        let undecided = body["code"] == "outcome_unknown";
        Err(RequestFailed { reason: problem(status, &body), answer: HttpReply::Problem { undecided }, retryable })
    }

    async fn follow(&self, id: &str, mut after_seq: u64, json: bool) -> Result<ExitCode, CommandError> {
        const TRIES: u32 = 5;
        let mut tries = 0;
        loop {
            match self.follow_once(id, &mut after_seq, json).await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => tries = 0,
                Err(failure) if failure.is::<OutputError>() => return not_seen_to_its_end(failure),
                Err(failure) if tries == TRIES => return Err(failure),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn follow_once(&self, id: &str, after_seq: &mut u64, json: bool) -> Result<Option<ExitCode>, CommandError> {
        let url = self.at(&format!("/ws/orders/{id}?afterSeq={after_seq}")).replacen("http", "ws", 1);
        let (_, mut socket) =
            self.client().ws(url).connect().await.map_err(|error| format!("{}: {error}", self.url))?;
        let mut ended = None;
        while let Some(frame) = socket.next().await {
            match frame? {
                Frame::Text(text) => {
                    let message: Value = serde_json::from_slice(&text)?;
                    let steps = match message["events"].as_array() {
                        Some(events) => events.clone(),
                        None => vec![message],
                    };
                    for step in steps {
                        *after_seq = step["seq"].as_u64().unwrap_or(*after_seq);
                        if json {
                            output::line(&step)?
                        } else {
                            output::line(line(&step))?
                        }
                        ended = end(&step).or(ended);
                    }
                }
                Frame::Ping(payload) => socket.send(Message::Pong(payload)).await?,
                Frame::Close(reason) => {
                    return match reason.map(|reason| reason.code) {
                        Some(CloseCode::Other(4401)) => Err("the login is over".into()),
                        Some(CloseCode::Other(4404)) => Err(format!("there is no order {id}").into()),
                        Some(CloseCode::Other(4503)) => {
                            Err(format!("order {id} cannot be read; the engine's operator has to repair it").into())
                        }
                        Some(CloseCode::Normal) if ended.is_none() => Err("the order had ended before".into()),
                        _ => Ok(ended),
                    };
                }
                _ => {}
            }
        }
        Ok(ended)
    }
}

/// What it means that a step could not be printed: 0 would say that the order is confirmed.
fn not_seen_to_its_end(failure: CommandError) -> Result<ExitCode, CommandError> {
    match failure.downcast_ref() {
        Some(OutputError::Closed) => Ok(ExitCode::from(exit::OUTPUT_CLOSED)),
        _ => Err(failure),
    }
}

fn problem(status: StatusCode, body: &Value) -> String {
    let detail = body["detail"].as_str().unwrap_or_default();
    let fields: Vec<_> = body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| {
            format!(
                "\n  {}: {}",
                error["field"].as_str().unwrap_or_default(),
                error["message"].as_str().unwrap_or_default()
            )
        })
        .collect();
    format!("{} {}: {detail}{}", status.as_u16(), body["code"].as_str().unwrap_or("error"), fields.concat())
}

fn end(step: &Value) -> Option<ExitCode> {
    match step["status"].as_str()? {
        "confirmed" => Some(ExitCode::SUCCESS),
        "failed" => Some(ExitCode::from(exit::ORDER_FAILED)),
        "cancelled" => Some(ExitCode::from(exit::ORDER_CANCELLED)),
        _ => None,
    }
}

/// A step for a person: when, what, and what is new in it.
fn line(step: &Value) -> String {
    let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
    let news = match step["status"].as_str().unwrap_or_default() {
        "pending" if step["error"].is_object() => {
            format!("{}, again at {}", step["error"]["message"].as_str().unwrap_or_default(), text("nextRetryAt"))
        }
        "building" => text("reason"),
        "submitted" => format!("{} at {}, at least {}", text("txHash"), text("dexUsed"), text("minAmountOut")),
        "confirmed" => format!("{} for a price of {}", text("amountOut"), text("executedPrice")),
        "failed" => step["error"]["message"].as_str().unwrap_or_default().to_owned(),
        _ => text("reason"),
    };
    let clock = text("timestamp").get(11..23).unwrap_or_default().to_owned();
    format!("{clock}  {:<10} attempt {}  {news}", text("status"), step["attempt"]).trim_end().to_owned()
}

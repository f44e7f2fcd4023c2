//! A client of the public API, for the commands that talk to a running engine.

mod follow;
mod reply;
mod target;

use std::process::ExitCode;
use std::time::Duration;

use order_engine::domain::secret::Secret;
use serde_json::Value;

use self::target::Target;
use super::exit::CommandError;
use super::output;

#[derive(clap::Args)]
pub(super) struct Server {
    /// The URL of the engine [env: ORDER_ENGINE_URL] [default: http://127.0.0.1:3000]
    #[arg(long)]
    url: Option<String>,
    /// The token of a login, or an API key [env: ORDER_ENGINE_TOKEN]
    #[arg(long)]
    token: Option<Secret>,
}

impl Server {
    /// Sends a `GET` request with a query. A problem that the engine answers is an error.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CommandError> {
        let target = self.target()?;
        let answer = target.client().get(target.at(path)).query(&query)?.send().await;
        Ok(reply::read(&target, answer).await?)
    }

    /// Sends a `POST` request with a JSON body. A problem that the engine answers is an error.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        let target = self.target()?;
        let answer = target.client().post(target.at(path)).send_json(body).await;
        Ok(reply::read(&target, answer).await?)
    }

    /// Submits an order under an idempotency key, and repeats it with the same key while the outcome is unknown.
    ///
    /// The key is required: without it, a repeat after a lost answer would buy twice.
    pub(super) async fn post_order(&self, order: &Value, key: &str) -> Result<Value, CommandError> {
        const TRIES: u32 = 5;
        let target = self.target()?;
        let client = target.client();
        // Whether the engine may have accepted the order although no answer confirmed it.
        let mut maybe_accepted = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let request = client.post(target.at("/api/orders/execute")).insert_header(("idempotency-key", key));
            let failure = match reply::read(&target, request.send_json(order).await).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            maybe_accepted |= failure.may_be_done();
            let again = failure.retryable || maybe_accepted;
            if !again || tries == TRIES {
                return Err(match maybe_accepted {
                    true => format!("{failure}\nthe order may have been accepted: repeat with --key {key}").into(),
                    false => failure.into(),
                });
            }
            output::note(format_args!("{failure}; retrying with the same key"));
            tokio::time::sleep(Duration::from_millis(250 << tries)).await;
        }
    }

    /// Prints the events of an order until it ends. The exit code names the end.
    ///
    /// Reconnects after a lost connection, and continues after the last event.
    pub(super) async fn follow(&self, id: &str, after_seq: u64, json: bool) -> Result<ExitCode, CommandError> {
        follow::follow(&self.target()?, id, after_seq, json).await
    }

    fn target(&self) -> Result<Target, CommandError> {
        Ok(Target::of(self.url.as_deref(), self.token.as_ref())?)
    }
}

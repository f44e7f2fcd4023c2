//! One shared connection to Redis. Every command has a deadline, and any error replaces the connection.
//!
//! The `ConnectionManager` of the `redis` crate keeps a connection whose commands time out. If the peer disappears
//! without closing, it waits until TCP gives up. Here a command without an answer ends the connection.
//!
//! An error reply ends it too. A primary that became a replica refuses every write (`READONLY`) while its host name
//! already resolves to the new primary, and a changed password takes effect only on a new connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    TlsCertificates, pipe,
};
use rustls::crypto::ring;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::config::{RedisSettings, RedisTls, RedisUrl};
use crate::runtime::tls_failure::TlsFailure;

pub(crate) struct RedisConnection {
    // Host and port, for the log.
    address: String,
    client: Client,
    deadline: Duration,
    prefix: String,
    connection: Mutex<Option<MultiplexedConnection>>,
    trouble: watch::Sender<Option<String>>,
    // The last command had no answer in time. It may be repeated before Redis counts as not usable.
    is_late: AtomicBool,
    // A connection works only on the runtime that opened it, so every command runs there.
    runtime: Handle,
}

impl RedisConnection {
    /// The interval of the health check.
    pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

    /// A connection that runs on the current runtime. It is opened by the first command.
    pub(crate) fn new(url: &RedisUrl, settings: &RedisSettings) -> Self {
        Self {
            address: url.address(),
            client: client(url, &settings.tls),
            deadline: settings.command_timeout,
            prefix: format!("{}:v1", settings.prefix),
            connection: Mutex::new(None),
            trouble: watch::Sender::new(None),
            is_late: AtomicBool::new(false),
            runtime: Handle::current(),
        }
    }

    /// The full name of a key or channel: prefix and version, then `of`.
    pub(crate) fn name(&self, of: &str) -> String {
        format!("{}:{of}", self.prefix)
    }

    /// Why Redis is not usable, if the last command failed.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// The same for the operator, who also wants to know that Redis does not answer at the moment.
    pub(crate) fn reported_trouble(&self) -> Option<String> {
        let late = || self.is_late.load(Ordering::Relaxed).then(|| "redis does not answer".to_owned());
        self.trouble().or_else(late)
    }

    /// Sends commands as one pipeline. Returns the first error, if there is one.
    pub(crate) async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        let answer = timeout(self.deadline, async {
            let mut connection = self.connection().await?;
            commands.query_async(&mut connection).await
        });
        let answer = answer.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        self.is_late.store(answer.as_ref().is_err_and(RedisError::is_timeout), Ordering::Relaxed);
        if answer.is_err() {
            *self.connection.lock().await = None;
        }
        answer
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let deadline = Some(self.deadline);
        let config = AsyncConnectionConfig::new().set_connection_timeout(deadline).set_response_timeout(deadline);
        let opened = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(connection.insert(opened).clone())
    }

    /// The commands of the health check. They write and publish, because everything else here needs both.
    pub(crate) fn health_check(&self) -> Pipeline {
        let lifetime = u64::try_from((Self::PROBE_INTERVAL * 5).as_millis()).unwrap_or(u64::MAX);
        let mut commands = pipe();
        commands.pset_ex(self.name("alive"), env!("CARGO_PKG_VERSION"), lifetime).ignore();
        // A channel without subscribers.
        commands.publish(format!("{}-alive", self.prefix), env!("CARGO_PKG_VERSION")).ignore();
        commands
    }

    /// Runs the health check once and records the result.
    pub(crate) async fn probe(&self) {
        self.note(self.run::<()>(&self.health_check()).await.err());
    }

    /// Records that Redis works, or why it does not. Logs each change. The log names the server; the recorded text does
    /// not, because every client may read it.
    pub(crate) fn note(&self, error: Option<RedisError>) {
        let address = &self.address;
        let cause = match &error {
            Some(error) => match TlsFailure::within(error) {
                Some(failure) => failure.at(address, "redis.tls_ca_file"),
                None => format!("redis at {address}: {error}"),
            },
            None => String::new(),
        };
        let trouble = error.map(|error| match (TlsFailure::within(&error), error.kind()) {
            (Some(failure), _) => format!("redis cannot be reached: {failure}"),
            (None, ErrorKind::Io) => "redis cannot be reached".to_owned(),
            _ => {
                let category = error.category().to_owned();
                // The error of a pipeline has a code only for well-known errors, so the code of the first reply is
                // taken.
                let refusals = error.into_server_errors();
                let code = refusals.iter().flat_map(|refusals| refusals.iter()).next().map(|(_, first)| first.code());
                format!("redis refuses the engine: {}", code.unwrap_or(&category))
            }
        });
        self.trouble.send_if_modified(|known| {
            let changed = *known != trouble;
            if changed {
                match &trouble {
                    Some(trouble) => {
                        tracing::warn!(cause, "{trouble}: updates are not published until redis works again");
                    }
                    None => tracing::info!("redis works again"),
                }
                *known = trouble;
            }
            changed
        });
    }

    /// The value of a key. `None` without an attempt while Redis is not usable, and on any error.
    pub(crate) async fn recall(self: &Arc<Self>, name: &str) -> Option<String> {
        if self.trouble.borrow().is_some() {
            return None;
        }
        let (connection, mut commands) = (self.clone(), pipe());
        commands.get(self.name(name));
        let answer = self.runtime.spawn(async move { connection.run::<(Option<String>,)>(&commands).await });
        answer.await.ok()?.ok()?.0
    }
}

fn client(url: &RedisUrl, tls: &RedisTls) -> Client {
    if !url.is_encrypted() {
        return Client::open(url.expose()).expect("a RedisUrl is a URL that the client accepts");
    }
    // The client uses the provider of the process. A program that embeds the engine may have installed its own.
    let _ = ring::default_provider().install_default();
    let client_tls = tls.client_certificate.as_ref().map(|given| ClientTlsConfig {
        client_cert: given.certificate.clone().into_bytes(),
        client_key: given.key.clone().into_bytes(),
    });
    let certificates = TlsCertificates { client_tls, root_cert: tls.authorities.clone().map(String::into_bytes) };
    Client::build_with_tls(url.expose(), certificates).expect("the settings have checked the URL and the certificates")
}

//! The connection to Redis: one, shared, with a deadline on everything, and replaced where it does not answer.
//!
//! The crate's own `ConnectionManager` keeps a connection whose commands merely time out, so a peer that vanished
//! without a word would be waited for until TCP gives up. Here any failure to be answered ends the connection.
//!
//! So does any refusal: a primary that became a replica refuses writes for ever (`READONLY`), while its name leads to
//! another server by now; and a new connection is also the only way to a password that has changed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, pipe};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::config::{RedisSettings, RedisUrl};

pub(crate) struct RedisConnection {
    client: Client,
    deadline: Duration,
    prefix: String,
    connection: Mutex<Option<MultiplexedConnection>>,
    trouble: watch::Sender<Option<String>>,
    // Connections live and die with the runtime that opened them, so nobody speaks from another one.
    home: Handle,
}

impl RedisConnection {
    /// How often Redis is asked how it is.
    pub(crate) const PROBED_EVERY: Duration = Duration::from_secs(1);

    /// A link that lives on the runtime this is called on.
    pub(crate) fn new(url: &RedisUrl, settings: &RedisSettings) -> Self {
        Self {
            client: Client::open(url.expose()).expect("what was parsed needs no further parsing"),
            deadline: settings.command_timeout,
            prefix: format!("{}:v1", settings.prefix),
            connection: Mutex::new(None),
            trouble: watch::Sender::new(None),
            home: Handle::current(),
        }
    }

    /// The versioned name of something of this engine's.
    pub(crate) fn name(&self, of: &str) -> String {
        format!("{}:{of}", self.prefix)
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Sends commands in one go; the first that is refused is the answer.
    pub(crate) async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        let answer = timeout(self.deadline, async {
            let mut connection = self.connection().await?;
            commands.query_async(&mut connection).await
        });
        let answer = answer.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
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

    /// What Redis is asked to find out how it is: to take a write and to publish, as everything else needs it to.
    pub(crate) fn sign_of_life(&self) -> Pipeline {
        let lifetime = u64::try_from((Self::PROBED_EVERY * 5).as_millis()).unwrap_or(u64::MAX);
        let mut commands = pipe();
        commands.pset_ex(self.name("alive"), env!("CARGO_PKG_VERSION"), lifetime).ignore();
        // To a channel that nobody needs to know.
        commands.publish(format!("{}-alive", self.prefix), env!("CARGO_PKG_VERSION")).ignore();
        commands
    }

    /// Asks Redis once how it is.
    pub(crate) async fn probe(&self) {
        self.note(self.run::<()>(&self.sign_of_life()).await.err());
    }

    /// Notes that Redis answers, or how it does not.
    pub(crate) fn note(&self, error: Option<RedisError>) {
        let trouble = error.map(|error| match error.kind() {
            ErrorKind::Io => "redis cannot be reached".to_owned(),
            _ => {
                let category = error.category().to_owned();
                // By itself the error of a pipeline tells no code but the best known ones.
                let refusals = error.into_server_errors();
                let code = refusals.iter().flat_map(|refusals| refusals.iter()).next().map(|(_, first)| first.code());
                format!("redis refuses the engine: {}", code.unwrap_or(&category))
            }
        });
        self.trouble.send_if_modified(|known| {
            let news = *known != trouble;
            if news {
                match &trouble {
                    Some(trouble) => tracing::warn!("{trouble}: updates are not announced until it is back"),
                    None => tracing::info!("redis is back"),
                }
                *known = trouble;
            }
            news
        });
    }

    /// What stands under a name; nothing, in time, where Redis is away.
    pub(crate) async fn recall(self: &Arc<Self>, name: &str) -> Option<String> {
        if self.trouble.borrow().is_some() {
            return None;
        }
        let (link, mut commands) = (self.clone(), pipe());
        commands.get(self.name(name));
        let answer = self.home.spawn(async move { link.run::<(Option<String>,)>(&commands).await });
        answer.await.ok()?.ok()?.0
    }
}

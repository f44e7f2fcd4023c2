//! Settings: layered, typed, and checked all at once before anything starts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use config::{Config, File, FileFormat, Map, Source, Value, ValueKind};
use rust_decimal::Decimal;
use thiserror::Error;

use crate::domain::id::VenueId;
use crate::domain::secret::Secret;
use crate::domain::token::{KnownToken, Token, TokenList};

const DEFAULTS: &str = include_str!("../config/default.toml");
const TOKENS: &str = include_str!("../config/tokens.toml");
const PREFIX: &str = "ORDER_ENGINE__";

/// Environment names that are honoured as they are, weaker than `ORDER_ENGINE__…`.
const SHORT_NAMES: [(&str, &str); 11] = [
    ("HOST", "server.host"),
    ("PORT", "server.port"),
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("LOG_LEVEL", "log.level"),
    ("MAX_CONCURRENT_ORDERS", "orders.max_concurrent"),
    ("QUEUE_MAX_CONCURRENCY", "orders.max_concurrent"),
    ("QUEUE_RATE_LIMIT_PER_MINUTE", "orders.rate_limit_per_minute"),
    ("ORDER_TIMEOUT_MS", "orders.timeout_ms"),
    ("ROUTING_TIMEOUT_MS", "routing.timeout_ms"),
    ("RUST_LOG", "log.level"),
];

/// Everything that can be set; `config/default.toml` says what each key means.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct Settings {
    pub server: ServerSettings,
    pub database: DatabaseSettings,
    pub redis: RedisSettings,
    pub orders: OrderSettings,
    pub routing_timeout: Duration,
    pub quote_max_age: Duration,
    pub chain: ChainSettings,
    pub ws: WsSettings,
    pub limits: LimitSettings,
    pub metrics: MetricsSettings,
    pub simulation: SimulationSettings,
    pub log: LogSettings,
    pub auth: AuthSettings,
    pub tokens: Arc<TokenList>,
}

/// `[server]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct ServerSettings {
    pub host: IpAddr,
    pub port: u16,
    pub workers: usize,
    pub request_timeout: Duration,
    pub shutdown_timeout: Duration,
    pub max_connections: usize,
    pub keep_alive: Duration,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    pub allowed_hosts: Vec<HostName>,
    pub allowed_origins: Vec<WebOrigin>,
}

/// `[database]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct DatabaseSettings {
    pub url: DatabaseUrl,
    pub max_connections: u32,
    pub idle_timeout: Duration,
    pub connect_timeout: Duration,
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
    pub batch: usize,
}

/// `[redis]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct RedisSettings {
    pub url: Option<RedisUrl>,
    pub command_timeout: Duration,
    pub quote_ttl: Duration,
    pub status_ttl: Duration,
    pub prefix: RedisPrefix,
}

/// `[orders]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct OrderSettings {
    pub max_concurrent: usize,
    pub rate_limit_per_minute: u32,
    pub max_open: usize,
    pub timeout: Duration,
    pub max_attempts: u32,
    pub backoff_initial: Duration,
    pub max_subscribers: usize,
    pub threads: usize,
}

/// `[chain]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct ChainSettings {
    pub resend: Duration,
    pub alarm: Duration,
}

/// `[ws]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct WsSettings {
    pub mailbox: usize,
    pub heartbeat: Duration,
    pub stall_timeout: Duration,
    pub idle_timeout: Duration,
    pub max_sockets_per_client: usize,
    pub max_subscriptions: usize,
    pub max_message_bytes: usize,
    pub commands_per_minute: u32,
    pub mistakes_per_minute: u32,
}

/// `[limits]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct LimitSettings {
    pub requests_per_second: u32,
    pub burst: u32,
    pub connections: usize,
    pub loopback: bool,
}

impl MetricsSettings {
    /// A token of fewer bytes could be found by trying.
    const TOKEN_BYTES: usize = 16;
}

impl LimitSettings {
    /// Whether whoever connects from there is limited at all.
    pub fn cover(&self, address: IpAddr) -> bool {
        self.loopback || !address.to_canonical().is_loopback()
    }
}

/// `[metrics]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct MetricsSettings {
    pub token: Option<Secret>,
    pub bind: Option<SocketAddr>,
}

/// `[simulation]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct SimulationSettings {
    pub ledger: LedgerPlace,
    pub quote_latency: Duration,
    pub swap_latency_min: Duration,
    pub swap_latency_max: Duration,
    pub drift_ppm: u32,
    pub failure_rate: Share,
    pub venue_failure_rate: Share,
    pub venues_down: Vec<VenueId>,
    pub venues_silent: Vec<VenueId>,
    pub drop_rate: Share,
    pub delay_rate: Share,
    pub delay: Duration,
    pub lost_answer_rate: Share,
    pub block: Duration,
    pub valid_blocks: u64,
    pub seed: u64,
}

/// `[log]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct LogSettings {
    pub level: String,
    pub format: LogFormat,
}

/// `[auth]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml is where each key is explained")]
pub struct AuthSettings {
    pub required: bool,
    pub registration_open: bool,
    pub secret: SecretPlace,
    pub token_ttl: Duration,
    pub attempts_per_name: usize,
    pub attempts_per_address: usize,
    pub attempts_window: Duration,
    pub hashes_at_once: usize,
    /// Listens beyond this machine without asking anybody who they are. No key sets it: `serve --insecure` does.
    pub insecure: bool,
}

impl AuthSettings {
    /// A secret of fewer bytes could be found by trying.
    pub const SECRET_BYTES: usize = 32;

    /// What is said of a secret that has only so many.
    pub fn short_secret(bytes: usize) -> String {
        format!("must have at least {} bytes, not {bytes}", Self::SECRET_BYTES)
    }
}

/// Where the secret is that tokens are signed with.
#[derive(Clone, Debug)]
pub enum SecretPlace {
    /// In the settings.
    Given(Secret),
    /// In that file, which is made where there is none.
    File(PathBuf),
    /// In this process, lost with it, as its database is.
    Memory,
}

/// Whether new accounts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    Open,
    Closed,
}

impl FromStr for Registration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("must be open or closed"),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// Where the simulated chain keeps its ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerPlace {
    /// In this process, lost with it; for benchmarks.
    Memory,
    /// In that file.
    File(PathBuf),
}

/// A share from 0 to 1, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(1_000_000);

    /// Whether a number drawn evenly from 0 to 999,999 falls into this share.
    pub const fn holds(self, drawn: u32) -> bool {
        drawn < self.0
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "must be a share from 0 to 1";
        let share = text.parse::<Decimal>().map_err(|_| ERROR)?;
        if share < Decimal::ZERO || share > Decimal::ONE {
            return Err(ERROR);
        }
        u32::try_from((share * Decimal::from(1_000_000)).trunc().mantissa()).map(Self).map_err(|_| ERROR)
    }
}

/// A database URL. It may hold a password, so it has no plain `Debug` or `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL with its secrets, for opening the database.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it names a SQLite file.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    /// The SQLite file's path; `None` for PostgreSQL and for a database in memory.
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        let rest = self.0.strip_prefix("sqlite:")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.split('?').next().unwrap_or(path);
        (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
    }

    /// The URL without user, password and parameters, fit for logs.
    pub fn redacted(&self) -> String {
        let shown = self.0.split('?').next().unwrap_or(&self.0);
        match (shown.split_once("://"), shown.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
            _ => shown.to_owned(),
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme)) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must begin with sqlite: or postgres:")
        }
    }
}

/// Where Redis is. It may hold a password, so it has no plain `Debug` or `Display`.
#[derive(Clone)]
pub struct RedisUrl(redis::ConnectionInfo);

impl RedisUrl {
    /// How to connect, secrets included.
    pub fn expose(&self) -> redis::ConnectionInfo {
        self.0.clone()
    }

    /// Host, port and database, fit for logs.
    pub fn redacted(&self) -> String {
        format!("redis://{}/{}", self.0.addr(), self.0.redis_settings().db())
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl FromStr for RedisUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What the crate says of a wrong URL may quote it, so it is not repeated.
        redis::IntoConnectionInfo::into_connection_info(text)
            .map(Self)
            .map_err(|_| "must be redis://[user:password@]host[:port][/database]")
    }
}

/// A name by which this server is called: the host of a URL, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=253).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("must be host names without scheme and port, such as engine.example.org")
        }
    }
}

/// Where a web page comes from, as a browser says it: scheme, host, and the port where it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// The origin, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
        if !host.is_empty() && host.bytes().all(plain) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("must be origins such as https://desk.example.org, without a path")
        }
    }
}

/// What the names of this engine's channels and keys in Redis begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisPrefix(String);

impl std::fmt::Display for RedisPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RedisPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Nothing that means something in a pattern, so that it can be subscribed to as it is.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 64 of the characters a-z, A-Z, 0-9, '-', '_', '.' and ':'")
        }
    }
}

/// Everything that is wrong with the settings, one line a key.
#[derive(Debug, Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// One key as it stands, for `order-engine config`.
#[derive(Debug)]
pub struct Entry {
    /// The key, such as `orders.max_concurrent`.
    pub key: String,
    /// Its value, without secrets.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

impl Settings {
    /// The settings in force: defaults, then `{directory}/{profile}.toml`, then the environment.
    pub fn load(directory: &Path, profile: Option<&str>) -> Result<(Self, Vec<Entry>), ConfigError> {
        let mut builder = Config::builder().add_source(defaults());
        if let Some(profile) = profile {
            builder = builder.add_source(File::from(directory.join(profile).with_extension("toml")));
        }
        Self::read(builder.add_source(environment(std::env::vars())))
    }

    /// The defaults with some keys set otherwise: for embedding and for tests.
    pub fn with<K: Into<String>, V: ToString>(
        overrides: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let overrides = overrides.into_iter().map(|(key, value)| (key.into(), value.to_string()));
        Self::read(
            Config::builder()
                .add_source(defaults())
                .add_source(Named(overrides.map(|(key, value)| (key, value, "the program".to_owned())).collect())),
        )
        .map(|(settings, _)| settings)
    }

    /// Whether others than this machine's users could reach the engine and be asked for nothing.
    pub fn is_open_to_strangers(&self) -> bool {
        self.is_beyond_this_machine() && !(self.auth.required || self.auth.insecure)
    }

    /// Whether it is reached from other machines.
    pub fn is_beyond_this_machine(&self) -> bool {
        !self.server.host.to_canonical().is_loopback()
    }

    fn read(builder: config::ConfigBuilder<config::builder::DefaultState>) -> Result<(Self, Vec<Entry>), ConfigError> {
        let config = builder.build().map_err(|error| ConfigError(vec![error.to_string()]))?;
        let mut reader = Reader::new(&config.cache);
        let entries = reader.entries();
        let settings = Self::parse(&mut reader);
        reader.refuse_leftovers();
        match settings {
            Some(settings) if reader.errors.is_empty() => Ok((settings, entries)),
            _ => Err(ConfigError(reader.errors)),
        }
    }

    // Every key is read before the first `?`, so that all errors are found in one go.
    fn parse(from: &mut Reader) -> Option<Self> {
        let host = from.take("server.host");
        let port = from.take("server.port");
        let workers = from.at_least("server.workers", 1);
        let request_timeout = from.duration("server.request_timeout_ms");
        let shutdown_timeout = from.duration("server.shutdown_timeout_ms");
        let server_max_connections = from.at_least("server.max_connections", 1);
        let keep_alive = from.duration("server.keep_alive_ms");
        let head_timeout = from.duration("server.head_timeout_ms");
        let body_timeout = from.duration("server.body_timeout_ms");
        let allowed_hosts = from.list("server.allowed_hosts");
        let allowed_origins = from.list("server.allowed_origins");
        let url = from.take::<DatabaseUrl>("database.url");
        let max_connections = from.at_least("database.max_connections", 1);
        let idle_timeout = from.duration("database.idle_timeout_ms");
        let connect_timeout = from.duration("database.connect_timeout_ms");
        let statement_timeout = from.duration("database.statement_timeout_ms");
        let lock_timeout = from.duration("database.lock_timeout_ms");
        let batch = from.at_least("database.batch", 1);
        let redis_url = from.optional::<RedisUrl>("redis.url");
        let command_timeout = from.duration("redis.command_timeout_ms");
        let quote_ttl = from.duration("redis.quote_ttl_ms");
        let status_ttl = from.duration("redis.status_ttl_ms");
        let prefix = from.take("redis.prefix");
        let max_concurrent = from.at_least("orders.max_concurrent", 1);
        let rate_limit_per_minute = from.take("orders.rate_limit_per_minute");
        let max_open = from.at_least("orders.max_open", 1);
        let timeout = from.duration("orders.timeout_ms");
        let max_attempts = from.at_least("orders.max_attempts", 1);
        let backoff_initial = from.duration("orders.backoff_initial_ms");
        let max_subscribers = from.at_least("orders.max_subscribers", 1);
        let threads = from.take("orders.threads");
        let routing_timeout = from.duration("routing.timeout_ms");
        let quote_max_age = from.duration("quote.max_age_ms");
        let resend = from.duration("chain.resend_ms");
        let alarm = from.duration("chain.alarm_ms");
        let mailbox = from.at_least("ws.mailbox", 1);
        let heartbeat = from.duration("ws.heartbeat_ms");
        let stall_timeout = from.duration("ws.stall_timeout_ms");
        let requests_per_second = from.take("limits.requests_per_second");
        let burst = from.at_least("limits.burst", 1);
        let client_connections = from.at_least("limits.connections", 1);
        let limit_loopback = from.take("limits.loopback");
        let metrics_token = from.optional::<Secret>("metrics.token");
        let metrics_bind = from.optional("metrics.bind");
        let ws_idle_timeout = from.duration("ws.idle_timeout_ms");
        let max_sockets_per_client = from.at_least("ws.max_sockets_per_client", 1);
        let max_subscriptions = from.at_least("ws.max_subscriptions", 1);
        let max_message_bytes = from.at_least("ws.max_message_bytes", 1024);
        let commands_per_minute = from.at_least("ws.commands_per_minute", 1);
        let mistakes_per_minute = from.take("ws.mistakes_per_minute");
        let ledger = from.take::<String>("simulation.ledger");
        let quote_latency = from.duration_or_zero("simulation.quote_latency_ms");
        let swap_latency_min = from.duration_or_zero("simulation.swap_latency_min_ms");
        let swap_latency_max = from.duration_or_zero("simulation.swap_latency_max_ms");
        let drift_ppm = from.take::<u32>("simulation.drift_ppm");
        let failure_rate = from.take("simulation.failure_rate");
        let venue_failure_rate = from.take("simulation.venue_failure_rate");
        let venues_down = from.list("simulation.venues_down");
        let venues_silent = from.list("simulation.venues_silent");
        let drop_rate = from.take("simulation.drop_rate");
        let delay_rate = from.take("simulation.delay_rate");
        let delay = from.duration_or_zero("simulation.delay_ms");
        let lost_answer_rate = from.take("simulation.lost_answer_rate");
        let block = from.duration("simulation.block_ms");
        let valid_blocks = from.at_least("simulation.valid_blocks", 1);
        let seed = from.take("simulation.seed");
        let level = from.take::<String>("log.level");
        let format = from.take("log.format");
        let required = from.take("auth.required");
        let registration = from.take::<Registration>("auth.registration");
        let secret = from.optional::<Secret>("auth.secret");
        let secret_file = from.take::<String>("auth.secret_file");
        let token_ttl = from.duration("auth.token_ttl_ms");
        let attempts_per_name = from.at_least("auth.attempts_per_name", 1);
        let attempts_per_address = from.at_least("auth.attempts_per_address", 1);
        let attempts_window = from.duration("auth.attempts_window_ms");
        let hashes_at_once = from.at_least("auth.hashes_at_once", 1);
        let tokens = from.tokens("tokens.file");

        if let Some(Some(token)) = &metrics_token
            && token.expose().len() < MetricsSettings::TOKEN_BYTES
        {
            from.error("metrics.token", format!("must have at least {} bytes", MetricsSettings::TOKEN_BYTES));
        }
        if let Some(Some(secret)) = &secret
            && secret.expose().len() < AuthSettings::SECRET_BYTES
        {
            from.error("auth.secret", AuthSettings::short_secret(secret.expose().len()));
        }
        if token_ttl.is_some_and(|ttl| ttl < Duration::from_secs(1) || ttl > MOST_TOKEN_TTL) {
            from.error("auth.token_ttl_ms", "must be from a second to a year");
        }
        if hashes_at_once.is_some_and(|hashes| hashes > 64) {
            from.error("auth.hashes_at_once", "must be at most 64");
        }
        if let (Some(min), Some(max)) = (swap_latency_min, swap_latency_max)
            && min > max
        {
            from.error("simulation.swap_latency_min_ms", "must not be more than simulation.swap_latency_max_ms");
        }
        if drift_ppm.is_some_and(|drift| drift >= 1_000_000) {
            from.error("simulation.drift_ppm", "must be less than 1000000");
        }
        if let (Some(heartbeat), Some(stall)) = (heartbeat, stall_timeout)
            && heartbeat * 2 >= stall
        {
            from.error("ws.heartbeat_ms", "must be less than half of ws.stall_timeout_ms");
        }
        if let Some(level) = &level
            && let Err(error) = tracing_subscriber::EnvFilter::try_new(level)
        {
            from.error("log.level", error);
        }
        let url = url?;
        let secret = match (secret?, secret_file?.as_str()) {
            (Some(secret), _) => SecretPlace::Given(secret),
            (None, "auto") if url.is_sqlite() && url.sqlite_path().is_none() => SecretPlace::Memory,
            (None, "auto") => SecretPlace::File(
                url.sqlite_path().unwrap_or_else(|| "order-engine.db".into()).with_extension("secret"),
            ),
            (None, path) => SecretPlace::File(path.into()),
        };
        let ledger = match ledger?.as_str() {
            "memory" => LedgerPlace::Memory,
            "auto" => LedgerPlace::File(
                url.sqlite_path().unwrap_or_else(|| "order-engine.db".into()).with_extension("ledger"),
            ),
            path => LedgerPlace::File(path.into()),
        };
        Some(Self {
            server: ServerSettings {
                host: host?,
                port: port?,
                workers: workers?,
                request_timeout: request_timeout?,
                shutdown_timeout: shutdown_timeout?,
                max_connections: server_max_connections?,
                keep_alive: keep_alive?,
                head_timeout: head_timeout?,
                body_timeout: body_timeout?,
                allowed_hosts: allowed_hosts?,
                allowed_origins: allowed_origins?,
            },
            database: DatabaseSettings {
                url,
                max_connections: max_connections?,
                idle_timeout: idle_timeout?,
                connect_timeout: connect_timeout?,
                statement_timeout: statement_timeout?,
                lock_timeout: lock_timeout?,
                batch: batch?,
            },
            redis: RedisSettings {
                url: redis_url?,
                command_timeout: command_timeout?,
                quote_ttl: quote_ttl?,
                status_ttl: status_ttl?,
                prefix: prefix?,
            },
            orders: OrderSettings {
                max_concurrent: max_concurrent?,
                rate_limit_per_minute: rate_limit_per_minute?,
                max_open: max_open?,
                timeout: timeout?,
                max_attempts: max_attempts?,
                backoff_initial: backoff_initial?,
                max_subscribers: max_subscribers?,
                threads: threads?,
            },
            routing_timeout: routing_timeout?,
            quote_max_age: quote_max_age?,
            chain: ChainSettings { resend: resend?, alarm: alarm? },
            ws: WsSettings {
                mailbox: mailbox?,
                heartbeat: heartbeat?,
                stall_timeout: stall_timeout?,
                idle_timeout: ws_idle_timeout?,
                max_sockets_per_client: max_sockets_per_client?,
                max_subscriptions: max_subscriptions?,
                max_message_bytes: max_message_bytes?,
                commands_per_minute: commands_per_minute?,
                mistakes_per_minute: mistakes_per_minute?,
            },
            limits: LimitSettings {
                requests_per_second: requests_per_second?,
                burst: burst?,
                connections: client_connections?,
                loopback: limit_loopback?,
            },
            metrics: MetricsSettings { token: metrics_token?, bind: metrics_bind? },
            simulation: SimulationSettings {
                ledger,
                quote_latency: quote_latency?,
                swap_latency_min: swap_latency_min?,
                swap_latency_max: swap_latency_max?,
                drift_ppm: drift_ppm?,
                failure_rate: failure_rate?,
                venue_failure_rate: venue_failure_rate?,
                venues_down: venues_down?,
                venues_silent: venues_silent?,
                drop_rate: drop_rate?,
                delay_rate: delay_rate?,
                delay: delay?,
                lost_answer_rate: lost_answer_rate?,
                block: block?,
                valid_blocks: valid_blocks?,
                seed: seed?,
            },
            log: LogSettings { level: level?, format: format? },
            auth: AuthSettings {
                required: required?,
                registration_open: registration? == Registration::Open,
                secret,
                token_ttl: token_ttl?,
                attempts_per_name: attempts_per_name?,
                attempts_per_address: attempts_per_address?,
                attempts_window: attempts_window?,
                hashes_at_once: hashes_at_once?,
                insecure: false,
            },
            tokens: Arc::new(tokens?),
        })
    }
}

fn defaults() -> impl Source + Send + Sync + 'static {
    File::from_str(DEFAULTS, FileFormat::Toml)
}

/// Values with keys and the name of where each came from.
#[derive(Clone, Debug)]
struct Named(Vec<(String, String, String)>);

impl Source for Named {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let value =
            |(key, text, origin): &(String, String, String)| (key.clone(), Value::new(Some(origin), text.clone()));
        Ok(self.0.iter().map(value).collect())
    }
}

fn environment(variables: impl Iterator<Item = (String, String)>) -> Named {
    let variables: BTreeMap<_, _> = variables.filter(|(_, value)| !value.is_empty()).collect();
    let origin = |name: &str| format!("environment {name}");
    let short = SHORT_NAMES
        .iter()
        .filter_map(|(name, key)| Some(((*key).to_owned(), variables.get(*name)?.clone(), origin(name))));
    let long = variables.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(PREFIX)?.to_lowercase().replace("__", ".");
        Some((key, value.clone(), origin(name)))
    });
    Named(short.chain(long).collect())
}

/// Takes keys out of the merged tree one by one and gathers what is wrong.
struct Reader {
    left: BTreeMap<String, (String, String)>,
    errors: Vec<String>,
}

impl Reader {
    fn new(tree: &Value) -> Self {
        let mut left = BTreeMap::new();
        flatten("", tree, &mut left);
        Self { left, errors: Vec::new() }
    }

    fn entries(&self) -> Vec<Entry> {
        self.left
            .iter()
            .map(|(key, (value, source))| {
                // As it will be parsed; what cannot be parsed is not shown at all.
                let text = value.trim();
                let shown = match key.as_str() {
                    "database.url" => {
                        text.parse::<DatabaseUrl>().map_or_else(|_| "***".to_owned(), |url| url.redacted())
                    }
                    "auth.secret" if text.is_empty() => String::new(),
                    "auth.secret" => "***".to_owned(),
                    "redis.url" if text.is_empty() => String::new(),
                    "redis.url" => text.parse::<RedisUrl>().map_or_else(|_| "***".to_owned(), |url| url.redacted()),
                    "metrics.token" if !text.is_empty() => "***".to_owned(),
                    _ => value.clone(),
                };
                Entry { key: key.clone(), value: shown, source: source.clone() }
            })
            .collect()
    }

    fn error(&mut self, key: &str, reason: impl Display) {
        self.errors.push(format!("{key}: {reason}"));
    }

    fn take<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        let (text, source) = match self.left.remove(key) {
            Some(found) => found,
            None => {
                self.error(key, "is missing");
                return None;
            }
        };
        match text.trim().parse() {
            Ok(value) => Some(value),
            // It is a secret, or may hold one, so it is never repeated.
            Err(error) if ["database.url", "redis.url", "auth.secret", "metrics.token"].contains(&key) => {
                self.error(key, format!("{error} (from {source})"));
                None
            }
            Err(error) => {
                self.error(key, format!("{error}, not {text:?} (from {source})"));
                None
            }
        }
    }

    /// Where nothing is said, nothing is meant: `Some(None)`.
    fn optional<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Option<T>> {
        match self.left.get(key) {
            Some((text, _)) if text.trim().is_empty() => {
                self.left.remove(key);
                Some(None)
            }
            _ => self.take(key).map(Some),
        }
    }

    fn at_least<T: FromStr<Err: Display> + PartialOrd + Display>(&mut self, key: &str, least: T) -> Option<T> {
        let value = self.take::<T>(key)?;
        if value < least {
            self.error(key, format!("must be at least {least}, not {value}"));
            return None;
        }
        Some(value)
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        self.at_least(key, 1).map(Duration::from_millis)
    }

    fn duration_or_zero(&mut self, key: &str) -> Option<Duration> {
        self.take(key).map(Duration::from_millis)
    }

    fn list<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Vec<T>> {
        let text = self.take::<String>(key)?;
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        match names.map(str::parse).collect() {
            Ok(list) => Some(list),
            Err(error) => {
                self.error(key, error);
                None
            }
        }
    }

    fn tokens(&mut self, key: &str) -> Option<TokenList> {
        let path = self.take::<PathBuf>(key)?;
        let text = match path.as_os_str().is_empty() {
            true => TOKENS.to_owned(),
            false => match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    self.error(key, format!("cannot read {path:?}: {error}"));
                    return None;
                }
            },
        };
        match parse_tokens(&text) {
            Ok(tokens) => Some(tokens),
            Err(error) => {
                self.error(key, error);
                None
            }
        }
    }

    fn refuse_leftovers(&mut self) {
        for (key, (_, source)) in std::mem::take(&mut self.left) {
            self.error(&key, format!("is no setting (from {source})"));
        }
    }
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, (String, String)>) {
    // Only the built-in defaults are parsed from a text that is no file.
    let source = |value: &Value| value.origin().unwrap_or("default").to_owned();
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, into);
            }
        }
        ValueKind::Array(items) => {
            let joined = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            into.insert(path.to_owned(), (joined, source(items.first().unwrap_or(value))));
        }
        _ => {
            into.insert(path.to_owned(), (value.to_string(), source(value)));
        }
    }
}

fn parse_tokens(text: &str) -> Result<TokenList, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct TokenFile {
        unknown_decimals: u8,
        token: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        symbol: String,
        mint: String,
        decimals: u8,
        simulated_usd: Decimal,
    }
    let file: TokenFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let known = |row: Row| {
        if row.decimals > MOST_DECIMALS {
            return Err(format!("{}: more than {MOST_DECIMALS} decimals", row.symbol));
        }
        if row.simulated_usd <= Decimal::ZERO {
            return Err(format!("{}: simulated_usd must be greater than 0", row.symbol));
        }
        let mint = row.mint.parse().map_err(|error| format!("{}: {error}", row.symbol))?;
        let token = Token { mint, symbol: Some(row.symbol.into()), decimals: row.decimals };
        Ok(KnownToken { token, simulated_usd: row.simulated_usd })
    };
    let tokens = file.token.into_iter().map(known).collect::<Result<_, String>>()?;
    TokenList::new(tokens, file.unknown_decimals.min(MOST_DECIMALS))
}

/// A token that is good for longer is good for ever.
const MOST_TOKEN_TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// More decimals would not leave a whole token within 2^64 base units.
const MOST_DECIMALS: u8 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let settings = Settings::with::<String, String>([]).unwrap();
        assert_eq!(settings.server.port, 3000);
        assert_eq!(settings.orders.max_concurrent, 10);
        assert_eq!(settings.simulation.ledger, LedgerPlace::File("order-engine.ledger".into()));
        assert!(settings.tokens.resolve("USDC").is_ok());
    }

    #[test]
    fn all_wrong_settings_are_named_at_once() {
        let error = Settings::with([
            ("server.port", "70000"),
            ("orders.max_concurrent", "0"),
            ("orders.max_conc", "1"),
            ("auth.required", "perhaps"),
        ])
        .unwrap_err();
        let text = error.to_string();
        for key in ["server.port", "orders.max_concurrent", "orders.max_conc:", "auth.required"] {
            assert!(text.contains(key), "{key} is not named in:\n{text}");
        }
        assert_eq!(error.0.len(), 4, "{text}");
    }

    #[test]
    fn the_environment_overrides_and_is_named_as_the_source() {
        let variables =
            [("PORT", "4000"), ("ORDER_ENGINE__SERVER__PORT", "5000"), ("MAX_CONCURRENT_ORDERS", "7"), ("HOST", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let builder = Config::builder().add_source(defaults()).add_source(environment(variables.into_iter()));
        let (settings, entries) = Settings::read(builder).unwrap();
        assert_eq!(settings.server.port, 5000);
        assert_eq!(settings.orders.max_concurrent, 7);
        let entry = entries.iter().find(|entry| entry.key == "server.port").unwrap();
        assert_eq!(entry.source, "environment ORDER_ENGINE__SERVER__PORT");
    }

    #[test]
    fn a_database_password_is_shown_nowhere() {
        let settings =
            Settings::with([("database.url", "postgres://me:hunter2@db:5432/orders?password=hunter2")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let error = Settings::with([("database.url", "mysql://me:hunter2@db/orders")]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_metrics_token_is_shown_nowhere() {
        let token = |token: &str| {
            let token = ("metrics.token".to_owned(), token.to_owned(), "the test".to_owned());
            Settings::read(Config::builder().add_source(defaults()).add_source(Named(vec![token])))
        };
        let (settings, entries) = token("hunter2-hunter2-hunter2").unwrap();
        assert!(!format!("{settings:?}{entries:?}").contains("hunter2"));
        assert!(!token("hunter2").unwrap_err().to_string().contains("hunter2"));
        assert!(token("").unwrap().0.metrics.token.is_none());
    }

    #[test]
    fn hosts_and_origins_are_lists_of_names_without_more() {
        let settings = Settings::with([
            ("server.allowed_hosts", "Engine.example.org, desk"),
            ("server.allowed_origins", "https://Desk.example.org,http://localhost:5173"),
            ("metrics.bind", "127.0.0.1:9100"),
        ])
        .unwrap();
        let hosts: Vec<_> = settings.server.allowed_hosts.iter().map(HostName::as_str).collect();
        let origins: Vec<_> = settings.server.allowed_origins.iter().map(WebOrigin::as_str).collect();
        assert_eq!(hosts, ["engine.example.org", "desk"]);
        assert_eq!(origins, ["https://desk.example.org", "http://localhost:5173"]);
        for (key, wrong) in [
            ("server.allowed_hosts", "engine.example.org:443"),
            ("server.allowed_hosts", "https://engine.example.org"),
            ("server.allowed_origins", "desk.example.org"),
            ("server.allowed_origins", "https://desk.example.org/"),
            ("server.allowed_origins", "*"),
            ("metrics.bind", "9100"),
        ] {
            let error = Settings::with([(key, wrong)]).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere_and_not_taken_when_it_is_short() {
        let secret = "hunter2-hunter2-hunter2-hunter2-h";
        let given = ("auth.secret".to_owned(), secret.to_owned(), "the test".to_owned());
        let builder = Config::builder().add_source(defaults()).add_source(Named(vec![given]));
        let (settings, entries) = Settings::read(builder).unwrap();
        assert!(matches!(&settings.auth.secret, SecretPlace::Given(given) if given.expose() == secret));
        assert!(!format!("{settings:?}{entries:?}").contains("hunter2"));
        let error = Settings::with([("auth.secret", &secret[..31])]).unwrap_err().to_string();
        assert!(error.starts_with("auth.secret: ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_secrets_file_is_beside_the_database_and_a_database_in_memory_has_none() {
        let place = |url: &str| Settings::with([("database.url", url)]).unwrap().auth.secret;
        let is_file =
            |place: SecretPlace, path: &str| matches!(place, SecretPlace::File(file) if file == Path::new(path));
        assert!(is_file(place("sqlite:///var/lib/orders.db?mode=rwc"), "/var/lib/orders.secret"));
        assert!(is_file(place("postgres://db/orders"), "order-engine.secret"));
        assert!(matches!(place("sqlite::memory:"), SecretPlace::Memory));
    }

    #[test]
    fn only_this_machine_may_be_asked_for_nothing() {
        for (host, required, open) in [
            ("127.0.0.1", "false", false),
            ("::1", "false", false),
            ("::ffff:127.0.0.2", "false", false),
            ("0.0.0.0", "false", true),
            ("::", "false", true),
            ("192.168.1.2", "false", true),
            ("0.0.0.0", "true", false),
        ] {
            let mut settings = Settings::with([("server.host", host), ("auth.required", required)]).unwrap();
            assert_eq!(settings.is_open_to_strangers(), open, "{host} {required}");
            settings.auth.insecure = true;
            assert!(!settings.is_open_to_strangers());
        }
    }

    #[test]
    fn a_redis_password_is_shown_nowhere_and_no_url_means_no_redis() {
        assert!(Settings::with::<String, String>([]).unwrap().redis.url.is_none());
        let builder = |url: &str| {
            let url = ("redis.url".to_owned(), url.to_owned(), "the test".to_owned());
            Config::builder().add_source(defaults()).add_source(Named(vec![url]))
        };
        for url in ["redis://me:hunter2@cache:6380/3", " redis://:hunter2@cache:6380/3"] {
            let (settings, entries) = Settings::read(builder(url)).unwrap();
            assert!(!format!("{settings:?}").contains("hunter2"));
            let shown = entries.iter().find(|entry| entry.key == "redis.url").unwrap();
            assert_eq!(shown.value, "redis://cache:6380/3");
        }
        for url in ["http://me:hunter2@cache", "redis://me:hunter2@cache/x", "rediss://me:hunter2@cache", "hunter2"] {
            let error = Settings::read(builder(url)).unwrap_err().to_string();
            assert!(error.starts_with("redis.url: must be redis://") && !error.contains("hunter2"), "{error}");
        }
        let error = Settings::with([("redis.prefix", "a*b"), ("redis.quote_ttl_ms", "0")]).unwrap_err();
        assert_eq!(error.0.len(), 2, "{error}");
    }
}

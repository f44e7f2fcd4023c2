//! Settings: layered, typed, and checked all at once before anything starts.

mod database_url;
mod environment;
mod parse;
mod reader;
mod sources;
mod values;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use thiserror::Error;

pub use self::database_url::{DatabasePlace, DatabaseUrl, SqliteFile};
pub use self::environment::{mistakes as environment_mistakes, variable};
use self::reader::Reader;
use self::sources::{NamedValues, defaults};
pub use self::values::{
    HostName, LedgerPlace, ListenHost, ListenPlace, LogFilter, LogFormat, RedisPrefix, RedisUrl, SecretPlace, Share,
    WebOrigin,
};
use crate::domain::amount::{ImpactLimit, Slippage};
use crate::domain::id::VenueId;
use crate::domain::secret::Secret;
use crate::domain::token::TokenList;

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
    pub host: ListenHost,
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
    pub max_open_per_user: usize,
    pub timeout: Duration,
    pub max_attempts: u32,
    pub backoff_initial: Duration,
    pub max_subscribers: usize,
    pub max_slippage: Slippage,
    pub max_price_impact: ImpactLimit,
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
    pub frames_per_minute: u32,
    pub max_missed_orders: usize,
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
    pub bind: Option<ListenPlace>,
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
    pub level: LogFilter,
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

/// Everything that is wrong with the settings, one line a key.
#[derive(Debug, Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// One key as it stands, for `order-engine config`.
#[derive(Debug)]
pub struct ConfigEntry {
    /// The key, such as `orders.max_concurrent`.
    pub key: String,
    /// Its value, without secrets.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

impl Settings {
    /// The settings in force: defaults, then `{directory}/{profile}.toml`, then the environment.
    pub fn load(directory: &Path, profile: Option<&str>) -> Result<(Self, Vec<ConfigEntry>), ConfigError> {
        let (variables, mut errors) = environment::settings(std::env::vars_os());
        let mut builder = Config::builder().add_source(defaults());
        match profile.map(|profile| sources::profile(directory, profile)).transpose() {
            Ok(Some(profile)) => builder = builder.add_source(profile),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        match Self::read(builder.add_source(variables)) {
            Ok(settings) if errors.is_empty() => Ok(settings),
            Ok(_) => Err(ConfigError(errors)),
            Err(ConfigError(more)) => {
                errors.extend(more);
                Err(ConfigError(errors))
            }
        }
    }

    /// The defaults with some keys set otherwise: for embedding and for tests.
    pub fn with<K: Into<String>, V: ToString>(
        overrides: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let overrides = overrides.into_iter().map(|(key, value)| (key.into(), value.to_string()));
        Self::read(
            Config::builder().add_source(defaults()).add_source(NamedValues(
                overrides.map(|(key, value)| (key, value, "the program".to_owned())).collect(),
            )),
        )
        .map(|(settings, _)| settings)
    }

    /// Whether others than this machine's users could reach the engine and be asked for nothing.
    pub fn is_open_to_strangers(&self) -> bool {
        self.is_beyond_this_machine() && !(self.auth.required || self.auth.insecure)
    }

    /// Whether it is reached from other machines.
    pub fn is_beyond_this_machine(&self) -> bool {
        !self.server.host.is_loopback()
    }

    fn read(
        builder: config::ConfigBuilder<config::builder::DefaultState>,
    ) -> Result<(Self, Vec<ConfigEntry>), ConfigError> {
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
}

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
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let (variables, errors) = environment::settings(variables);
        assert!(errors.is_empty(), "{errors:?}");
        let builder = Config::builder().add_source(defaults()).add_source(variables);
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
            Settings::read(Config::builder().add_source(defaults()).add_source(NamedValues(vec![token])))
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
        let builder = Config::builder().add_source(defaults()).add_source(NamedValues(vec![given]));
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
            Config::builder().add_source(defaults()).add_source(NamedValues(vec![url]))
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

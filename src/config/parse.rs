//! Parses the settings, section by section.
//!
//! In each section every key is read before the first `?`, so that all errors are reported together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::certificates;
use crate::config::database_url::DatabaseUrl;
use crate::config::reader::Reader;
use crate::config::settings::{
    AuthSettings, ChainSettings, DatabaseSettings, LimitSettings, LogSettings, MetricsSettings, OrderSettings,
    RedisSettings, ServerSettings, Settings, SimulationSettings, WsSettings,
};
use crate::config::values::{LedgerPlace, LedgerText, RedisTls, RedisUrl, Registration, SecretPlace};
use crate::domain::secret::Secret;
use crate::domain::user::{Scope, Scopes};

/// More threads do not start on any machine.
const MAX_THREADS: usize = 512;

/// A token with a longer lifetime would be permanent in effect.
const MAX_TOKEN_TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Parses all settings. `None` if there are errors; `from` has them.
pub(super) fn settings(from: &mut Reader) -> Option<Settings> {
    let server = server(from);
    let database = database(from);
    let redis = redis(from);
    let orders = orders(from);
    let routing_timeout = from.duration("routing.timeout_ms");
    let quote_max_age = from.duration("quote.max_age_ms");
    let chain = chain(from);
    let ws = ws(from);
    let limits = limits(from);
    let metrics = metrics(from);
    let simulation = simulation(from, database.as_ref());
    let log = log(from);
    let auth = auth(from, database.as_ref());
    let tokens = from.tokens("tokens.file");
    Some(Settings {
        server: server?,
        database: database?,
        redis: redis?,
        orders: orders?,
        routing_timeout: routing_timeout?,
        quote_max_age: quote_max_age?,
        chain: chain?,
        ws: ws?,
        limits: limits?,
        metrics: metrics?,
        simulation: simulation?,
        log: log?,
        auth: auth?,
        tokens: Arc::new(tokens?),
    })
}

fn server(from: &mut Reader) -> Option<ServerSettings> {
    let host = from.take("server.host");
    let port = from.take("server.port");
    let workers = from.within("server.workers", 1, MAX_THREADS);
    let request_timeout = from.duration("server.request_timeout_ms");
    let shutdown_timeout = from.duration("server.shutdown_timeout_ms");
    let max_connections = from.at_least("server.max_connections", 1);
    let keep_alive = from.duration("server.keep_alive_ms");
    let proxy_keep_alive = from.duration("server.proxy_keep_alive_ms");
    let head_timeout = from.duration("server.head_timeout_ms");
    let body_timeout = from.duration("server.body_timeout_ms");
    let allowed_hosts = from.list("server.allowed_hosts");
    let allowed_origins = from.list("server.allowed_origins");
    let public_url = from.optional("server.public_url");
    let trusted_proxies = from.list("server.trusted_proxies");
    let forwarded_header = from.take("server.forwarded_header");
    Some(ServerSettings {
        host: host?,
        port: port?,
        workers: workers?,
        request_timeout: request_timeout?,
        shutdown_timeout: shutdown_timeout?,
        max_connections: max_connections?,
        keep_alive: keep_alive?,
        proxy_keep_alive: proxy_keep_alive?,
        head_timeout: head_timeout?,
        body_timeout: body_timeout?,
        allowed_hosts: allowed_hosts?,
        allowed_origins: allowed_origins?,
        public_url: public_url?,
        trusted_proxies: trusted_proxies?,
        forwarded_header: forwarded_header?,
    })
}

fn database(from: &mut Reader) -> Option<DatabaseSettings> {
    let url = from.take::<DatabaseUrl>("database.url");
    let max_connections = from.at_least("database.max_connections", 1);
    let idle_timeout = from.duration("database.idle_timeout_ms");
    let connect_timeout = from.duration("database.connect_timeout_ms");
    let statement_timeout = from.duration("database.statement_timeout_ms");
    let lock_timeout = from.duration("database.lock_timeout_ms");
    let batch = from.at_least("database.batch", 1);
    if let Some(Err(error)) = url.as_ref().and_then(DatabaseUrl::postgres).map(|server| server.tls.check_files()) {
        from.error("database.url", error);
    }
    Some(DatabaseSettings {
        url: url?,
        max_connections: max_connections?,
        idle_timeout: idle_timeout?,
        connect_timeout: connect_timeout?,
        statement_timeout: statement_timeout?,
        lock_timeout: lock_timeout?,
        batch: batch?,
    })
}

fn redis(from: &mut Reader) -> Option<RedisSettings> {
    let url = from.optional::<RedisUrl>("redis.url");
    let tls = redis_tls(from, url.as_ref().and_then(Option::as_ref));
    let command_timeout = from.duration("redis.command_timeout_ms");
    let quote_ttl = from.duration("redis.quote_ttl_ms");
    let status_ttl = from.duration("redis.status_ttl_ms");
    let prefix = from.take("redis.prefix");
    Some(RedisSettings {
        url: url?,
        tls: tls?,
        command_timeout: command_timeout?,
        quote_ttl: quote_ttl?,
        status_ttl: status_ttl?,
        prefix: prefix?,
    })
}

fn redis_tls(from: &mut Reader, url: Option<&RedisUrl>) -> Option<RedisTls> {
    const CA: &str = "redis.tls_ca_file";
    const CERTIFICATE: &str = "redis.tls_cert_file";
    const KEY: &str = "redis.tls_key_file";
    let [ca, certificate, key] = [CA, CERTIFICATE, KEY].map(|name| from.optional::<PathBuf>(name));
    let (ca, certificate, key) = (ca?, certificate?, key?);
    let given = [(CA, &ca), (CERTIFICATE, &certificate), (KEY, &key)];
    if url.is_some_and(|url| !url.is_encrypted())
        && let Some((name, _)) = given.iter().find(|(_, path)| path.is_some())
    {
        from.error(name, "has no effect with redis://: write rediss:// in redis.url");
    }
    let authorities = ca.map(|path| certificates::authorities(&path)).transpose();
    let authorities = authorities.map_err(|error| from.error(CA, error)).ok()?;
    let client_certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let read = certificates::client_certificate(&certificate, &key);
            Some(read.map_err(|error| from.error(CERTIFICATE, error)).ok()?)
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            from.error(CERTIFICATE, format!("must be given together with {KEY}"));
            None
        }
    };
    Some(RedisTls { authorities, client_certificate })
}

fn orders(from: &mut Reader) -> Option<OrderSettings> {
    let max_concurrent = from.at_least("orders.max_concurrent", 1);
    let rate_limit_per_minute = from.take("orders.rate_limit_per_minute");
    let max_open = from.at_least("orders.max_open", 1);
    let max_open_per_user = from.at_least("orders.max_open_per_user", 1);
    let timeout = from.duration("orders.timeout_ms");
    let max_attempts = from.at_least("orders.max_attempts", 1);
    let backoff_initial = from.duration("orders.backoff_initial_ms");
    let max_subscribers = from.at_least("orders.max_subscribers", 1);
    let max_slippage = from.take("orders.max_slippage");
    let max_price_impact = from.take("orders.max_price_impact");
    let threads = from.within("orders.threads", 0, MAX_THREADS);
    Some(OrderSettings {
        max_concurrent: max_concurrent?,
        rate_limit_per_minute: rate_limit_per_minute?,
        max_open: max_open?,
        max_open_per_user: max_open_per_user?,
        timeout: timeout?,
        max_attempts: max_attempts?,
        backoff_initial: backoff_initial?,
        max_subscribers: max_subscribers?,
        max_slippage: max_slippage?,
        max_price_impact: max_price_impact?,
        threads: threads?,
    })
}

fn chain(from: &mut Reader) -> Option<ChainSettings> {
    let resend = from.duration("chain.resend_ms");
    let alarm = from.duration("chain.alarm_ms");
    Some(ChainSettings { resend: resend?, alarm: alarm? })
}

fn ws(from: &mut Reader) -> Option<WsSettings> {
    let mailbox = from.within("ws.mailbox", 1, 1_000_000);
    let heartbeat = from.duration("ws.heartbeat_ms");
    let stall_timeout = from.duration("ws.stall_timeout_ms");
    let idle_timeout = from.duration("ws.idle_timeout_ms");
    let max_sockets_per_client = from.at_least("ws.max_sockets_per_client", 1);
    let max_subscriptions = from.at_least("ws.max_subscriptions", 1);
    let max_message_bytes = from.within("ws.max_message_bytes", 1024, 16 * 1024 * 1024);
    let commands_per_minute = from.at_least("ws.commands_per_minute", 1);
    let mistakes_per_minute = from.take("ws.mistakes_per_minute");
    let frames_per_minute = from.at_least("ws.frames_per_minute", 1);
    let max_missed_orders = from.at_least("ws.max_missed_orders", 1);
    if let (Some(heartbeat), Some(stall)) = (heartbeat, stall_timeout)
        && heartbeat * 2 >= stall
    {
        from.error("ws.heartbeat_ms", "must be less than half of ws.stall_timeout_ms");
    }
    Some(WsSettings {
        mailbox: mailbox?,
        heartbeat: heartbeat?,
        stall_timeout: stall_timeout?,
        idle_timeout: idle_timeout?,
        max_sockets_per_client: max_sockets_per_client?,
        max_subscriptions: max_subscriptions?,
        max_message_bytes: max_message_bytes?,
        commands_per_minute: commands_per_minute?,
        mistakes_per_minute: mistakes_per_minute?,
        frames_per_minute: frames_per_minute?,
        max_missed_orders: max_missed_orders?,
    })
}

fn limits(from: &mut Reader) -> Option<LimitSettings> {
    let requests_per_second = from.take("limits.requests_per_second");
    let burst = from.at_least("limits.burst", 1);
    let connections = from.at_least("limits.connections", 1);
    let loopback = from.flag("limits.loopback");
    Some(LimitSettings {
        requests_per_second: requests_per_second?,
        burst: burst?,
        connections: connections?,
        loopback: loopback?,
    })
}

fn metrics(from: &mut Reader) -> Option<MetricsSettings> {
    let token = from.optional::<Secret>("metrics.token");
    let bind = from.optional("metrics.bind");
    if let Some(Some(token)) = &token {
        if token.expose().len() < MetricsSettings::TOKEN_BYTES {
            from.error("metrics.token", format!("must have at least {} bytes", MetricsSettings::TOKEN_BYTES));
        }
        if !token.expose().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            from.error("metrics.token", "must be printable ASCII: a header cannot have other characters");
        }
    }
    Some(MetricsSettings { token: token?, bind: bind? })
}

fn simulation(from: &mut Reader, database: Option<&DatabaseSettings>) -> Option<SimulationSettings> {
    let ledger = from.take::<LedgerText>("simulation.ledger");
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
    let valid_blocks = from.within("simulation.valid_blocks", 1, 1_000_000_000);
    let seed = from.take("simulation.seed");
    if let (Some(min), Some(max)) = (swap_latency_min, swap_latency_max)
        && min > max
    {
        from.error("simulation.swap_latency_min_ms", "must not be more than simulation.swap_latency_max_ms");
    }
    if drift_ppm.is_some_and(|drift| drift >= 1_000_000) {
        from.error("simulation.drift_ppm", "must be less than 1000000");
    }
    let ledger = match ledger? {
        LedgerText::At(place) => place,
        LedgerText::Auto => LedgerPlace::File(beside_database(&database?.url, "ledger")),
    };
    Some(SimulationSettings {
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
    })
}

fn log(from: &mut Reader) -> Option<LogSettings> {
    let level = from.take("log.level");
    let format = from.take("log.format");
    Some(LogSettings { level: level?, format: format? })
}

fn auth(from: &mut Reader, database: Option<&DatabaseSettings>) -> Option<AuthSettings> {
    let required = from.flag("auth.required");
    let registration = from.take::<Registration>("auth.registration");
    let default_scopes = from.list::<Scope>("auth.default_scopes").map(Scopes::from_iter);
    let secret = from.optional::<Secret>("auth.secret");
    let secret_file = from.take::<String>("auth.secret_file");
    let token_ttl = from.duration("auth.token_ttl_ms");
    let attempts_per_name = from.at_least("auth.attempts_per_name", 1);
    let attempts_per_address = from.at_least("auth.attempts_per_address", 1);
    let attempts_window = from.duration("auth.attempts_window_ms");
    let hashes_at_once = from.within("auth.hashes_at_once", 1, 64);
    if default_scopes.is_some_and(|scopes| scopes.contain(Scope::Operate)) {
        from.error("auth.default_scopes", "must not contain operate, which `order-engine users grant` gives to a user");
    }
    if let Some(Some(secret)) = &secret
        && secret.expose().len() < AuthSettings::SECRET_BYTES
    {
        from.error("auth.secret", AuthSettings::short_secret(secret.expose().len()));
    }
    if token_ttl.is_some_and(|ttl| ttl < Duration::from_secs(1) || ttl > MAX_TOKEN_TTL) {
        let most = MAX_TOKEN_TTL.as_millis();
        from.error("auth.token_ttl_ms", format!("must be from 1000 (one second) to {most} (366 days)"));
    }
    let url = &database?.url;
    let secret = match (secret?, secret_file?.as_str()) {
        (Some(secret), _) => SecretPlace::Given(secret),
        // A database in memory loses its users with the process, so the secret may be lost with it.
        (None, "auto") if url.is_sqlite() && url.sqlite_path().is_none() => SecretPlace::Memory,
        (None, "auto") => SecretPlace::File(beside_database(url, "secret")),
        (None, path) => SecretPlace::File(path.into()),
    };
    Some(AuthSettings {
        required: required?,
        registration_open: registration? == Registration::Open,
        default_scopes: default_scopes?,
        secret,
        token_ttl: token_ttl?,
        attempts_per_name: attempts_per_name?,
        attempts_per_address: attempts_per_address?,
        attempts_window: attempts_window?,
        hashes_at_once: hashes_at_once?,
        insecure: false,
    })
}

/// A file beside the SQLite file. For another database it is in the current folder.
fn beside_database(url: &DatabaseUrl, extension: &str) -> PathBuf {
    url.sqlite_path().unwrap_or_else(|| "order-engine.db".into()).with_extension(extension)
}

//! The settings as types, one struct per section.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::database_url::DatabaseUrl;
use crate::config::values::{
    ForwardedHeader, HostName, LedgerPlace, ListenHost, ListenPlace, LogFilter, LogFormat, ProxyNet, PublicUrl,
    RedisPrefix, RedisTls, RedisUrl, SecretPlace, Share, WebOrigin,
};
use crate::domain::fraction::{ImpactLimit, Slippage};
use crate::domain::id::VenueId;
use crate::domain::request::{OrderKind, OrderRequest, Terms};
use crate::domain::secret::Secret;
use crate::domain::token::TokenList;
use crate::domain::user::Scopes;

/// All settings. `config/default.toml` explains each key.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
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

impl Settings {
    /// Whether clients on other machines could reach the engine and trade without authentication.
    pub fn is_open_to_strangers(&self) -> bool {
        self.is_beyond_this_machine() && !(self.auth.required || self.auth.insecure)
    }

    /// Whether other machines can reach the engine.
    pub fn is_beyond_this_machine(&self) -> bool {
        self.public_place().is_some()
    }

    /// The setting through which other machines can reach the engine, and the place that it names: the address to listen
    /// on, or the URL of a proxy that passes requests on.
    pub fn public_place(&self) -> Option<(&'static str, String)> {
        if !self.server.host.is_loopback() {
            return Some(("server.host", self.server.host.to_string()));
        }
        let url = self.server.public_url.as_ref().filter(|url| !url.is_loopback())?;
        Some(("server.public_url", url.to_string()))
    }
}

/// `[server]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
pub struct ServerSettings {
    pub host: ListenHost,
    pub port: u16,
    pub workers: usize,
    pub request_timeout: Duration,
    pub shutdown_timeout: Duration,
    pub max_connections: usize,
    pub keep_alive: Duration,
    pub proxy_keep_alive: Duration,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    pub allowed_hosts: Vec<HostName>,
    pub allowed_origins: Vec<WebOrigin>,
    pub public_url: Option<PublicUrl>,
    pub trusted_proxies: Vec<ProxyNet>,
    pub forwarded_header: ForwardedHeader,
}

impl ServerSettings {
    /// How long a connection may be without a request.
    pub fn idle_timeout(&self) -> Duration {
        if self.trusted_proxies.is_empty() { self.keep_alive } else { self.proxy_keep_alive }
    }
}

/// `[database]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
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
#[allow(missing_docs, reason = "config/default.toml explains each key")]
pub struct RedisSettings {
    pub url: Option<RedisUrl>,
    pub tls: RedisTls,
    pub command_timeout: Duration,
    pub quote_ttl: Duration,
    pub status_ttl: Duration,
    pub prefix: RedisPrefix,
}

/// `[orders]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
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

impl OrderSettings {
    /// How long an order of that type may take until a swap is signed.
    pub fn timeout_of(&self, kind: &OrderKind) -> Duration {
        match kind {
            OrderKind::Market => self.timeout,
        }
    }

    /// The terms on which a request is accepted: its own where it names them, otherwise those of the settings.
    pub fn terms_of(&self, request: &OrderRequest) -> Terms {
        Terms { max_price_impact: request.max_price_impact.unwrap_or(self.max_price_impact) }
    }
}

/// `[chain]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
pub struct ChainSettings {
    pub resend: Duration,
    pub alarm: Duration,
}

/// `[ws]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
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
#[allow(missing_docs, reason = "config/default.toml explains each key")]
pub struct LimitSettings {
    pub requests_per_second: u32,
    pub burst: u32,
    pub connections: usize,
    pub loopback: bool,
}

impl LimitSettings {
    /// Whether the limits apply to clients at this address.
    pub fn cover(&self, address: IpAddr) -> bool {
        self.loopback || !address.to_canonical().is_loopback()
    }
}

/// `[metrics]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
pub struct MetricsSettings {
    pub token: Option<Secret>,
    pub bind: Option<ListenPlace>,
}

impl MetricsSettings {
    /// The minimum length of the token. A shorter one could be guessed.
    pub(super) const TOKEN_BYTES: usize = 16;
}

/// `[simulation]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
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
#[allow(missing_docs, reason = "config/default.toml explains each key")]
pub struct LogSettings {
    pub level: LogFilter,
    pub format: LogFormat,
}

/// `[auth]`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "config/default.toml explains each key")]
pub struct AuthSettings {
    pub required: bool,
    pub registration_open: bool,
    pub default_scopes: Scopes,
    pub secret: SecretPlace,
    pub token_ttl: Duration,
    pub attempts_per_name: usize,
    pub attempts_per_address: usize,
    pub attempts_window: Duration,
    pub hashes_at_once: usize,
    /// Allows other machines to trade without authentication. `serve --insecure` sets it; there is no key for it.
    pub insecure: bool,
}

impl AuthSettings {
    /// The minimum length of the secret. A shorter one could be guessed.
    pub const SECRET_BYTES: usize = 32;

    /// The error for a secret with this number of bytes.
    pub fn short_secret(bytes: usize) -> String {
        format!("must have at least {} bytes, not {bytes}", Self::SECRET_BYTES)
    }
}

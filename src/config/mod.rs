//! The settings: layered, typed, and checked together before anything starts.
//!
//! - `settings`: the settings as types, and `values`: the types of single settings. [`DatabaseUrl`] has its own module.
//! - `sources` and `environment`: where settings come from. `certificates` reads the files of TLS.
//! - `reader` takes values out of the merged sources and collects the errors; `parse` makes the settings from them.

mod certificates;
mod database_url;
mod environment;
mod parse;
mod reader;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod values;

use std::path::Path;

use config::Config;
use config::builder::{ConfigBuilder, DefaultState};
use thiserror::Error;

pub use self::certificates::ClientCertificate;
pub use self::database_url::{DatabasePlace, DatabaseUrl, PostgresServer, PostgresTls, SqliteFile, TlsMode};
pub use self::environment::{mistakes as environment_mistakes, variable};
pub use self::reader::ConfigEntry;
use self::reader::Reader;
pub use self::settings::{
    AuthSettings, ChainSettings, DatabaseSettings, LimitSettings, LogSettings, MetricsSettings, OrderSettings,
    RedisSettings, ServerSettings, Settings, SimulationSettings, WsSettings,
};
use self::sources::{NamedValues, defaults};
pub use self::values::{
    ForwardedHeader, HostName, LedgerPlace, ListenHost, ListenPlace, LogFilter, LogFormat, ProxyNet, PublicHost,
    PublicUrl, RedisPrefix, RedisTls, RedisUrl, SecretPlace, Share, WebOrigin,
};

/// All errors of the settings, one line per key.
#[derive(Debug, Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Settings {
    /// The settings in force: the defaults, overridden by `{directory}/{profile}.toml`, overridden by the environment.
    pub fn load(directory: &Path, profile: Option<&str>) -> Result<(Self, Vec<ConfigEntry>), ConfigError> {
        let (variables, mut errors) = environment::settings(std::env::vars_os());
        let mut builder = Config::builder().add_source(defaults());
        match profile.map(|profile| sources::profile(directory, profile)).transpose() {
            Ok(Some(profile)) => builder = builder.add_source(profile),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        match read(builder.add_source(variables)) {
            Ok(settings) if errors.is_empty() => Ok(settings),
            Ok(_) => Err(ConfigError(errors)),
            Err(ConfigError(more)) => {
                errors.extend(more);
                Err(ConfigError(errors))
            }
        }
    }

    /// The format of the log, also where other settings are wrong: their errors are reported in it.
    pub fn log_format(directory: &Path, profile: Option<&str>) -> LogFormat {
        let (variables, _) = environment::settings(std::env::vars_os());
        let mut builder = Config::builder().add_source(defaults());
        if let Some(Ok(profile)) = profile.map(|profile| sources::profile(directory, profile)) {
            builder = builder.add_source(profile);
        }
        let merged = builder.add_source(variables).build();
        let text = merged.and_then(|merged| merged.get_string("log.format")).unwrap_or_default();
        text.trim().parse().unwrap_or(LogFormat::Text)
    }

    /// The defaults with some keys overridden, for embedding and for tests.
    pub fn with<K: Into<String>, V: ToString>(
        overrides: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let origin = "the program".to_owned();
        let overrides = overrides.into_iter().map(|(key, value)| (key.into(), value.to_string(), origin.clone()));
        let overrides = NamedValues(overrides.collect());
        let (settings, _) = read(Config::builder().add_source(defaults()).add_source(overrides))?;
        Ok(settings)
    }
}

fn read(sources: ConfigBuilder<DefaultState>) -> Result<(Settings, Vec<ConfigEntry>), ConfigError> {
    let merged = sources.build().map_err(|error| ConfigError(vec![error.to_string()]))?;
    let mut reader = Reader::new(&merged.cache);
    let entries = reader.entries();
    let settings = parse::settings(&mut reader);
    reader.refuse_leftovers();
    match settings {
        Some(settings) if reader.errors.is_empty() => Ok((settings, entries)),
        _ => Err(ConfigError(reader.errors)),
    }
}

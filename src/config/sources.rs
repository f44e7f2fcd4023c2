//! Where settings come from: the defaults, the environment, or the program itself.

use std::collections::BTreeMap;

use config::{File, FileFormat, Map, Source, Value};

const DEFAULTS: &str = include_str!("../../config/default.toml");
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

pub(super) fn defaults() -> impl Source + Send + Sync + 'static {
    File::from_str(DEFAULTS, FileFormat::Toml)
}

/// Values with keys and the name of where each came from.
#[derive(Clone, Debug)]
pub(super) struct Named(pub(super) Vec<(String, String, String)>);

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

pub(super) fn environment(variables: impl Iterator<Item = (String, String)>) -> Named {
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

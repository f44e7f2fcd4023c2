//! The types of single settings. Each is parsed from its text.

mod listen;
mod log;
mod places;
mod proxies;
mod redis;

pub use self::listen::{HostName, ListenHost, ListenPlace, WebOrigin};
pub use self::log::{LogFilter, LogFormat};
pub use self::places::{LedgerPlace, SecretPlace, Share};
pub(super) use self::places::{LedgerText, Registration};
pub use self::proxies::{ForwardedHeader, ProxyNet, PublicHost, PublicUrl};
pub use self::redis::{RedisPrefix, RedisTls, RedisUrl};

//! The database's URL: parsed whole at the start, so that no part of it is ignored or means something else later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::domain::secret;

/// Where orders are kept. A PostgreSQL URL may hold a password, so there is no plain `Debug` or `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    text: String,
    place: DatabasePlace,
}

/// What kind of database a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePlace {
    /// SQLite in this process's memory, lost with it. Only `sqlite::memory:` and `sqlite://:memory:` mean this.
    Memory,
    /// A SQLite file.
    File(SqliteFile),
    /// A database on a PostgreSQL server.
    Postgres,
}

/// A SQLite file, as the URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteFile {
    /// The path, absolute or relative to the current folder.
    pub path: PathBuf,
    /// Whether the file is created where it does not exist (`mode=rwc`).
    pub create: bool,
}

impl DatabaseUrl {
    /// The URL as it was written, secrets included.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What kind of database it names.
    pub fn place(&self) -> &DatabasePlace {
        &self.place
    }

    /// Whether the database is SQLite, in a file or in memory.
    pub fn is_sqlite(&self) -> bool {
        !matches!(self.place, DatabasePlace::Postgres)
    }

    /// The SQLite file's path; `None` for PostgreSQL and for a database in memory.
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        match &self.place {
            DatabasePlace::File(file) => Some(file.path.clone()),
            DatabasePlace::Memory | DatabasePlace::Postgres => None,
        }
    }

    /// The URL without user, password and parameters, fit for logs.
    pub fn redacted(&self) -> String {
        match &self.place {
            DatabasePlace::Memory => self.text.clone(),
            DatabasePlace::File(file) => format!("sqlite://{}", file.path.display()),
            DatabasePlace::Postgres => secret::url_without_secrets(&self.text),
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = if let Some(rest) = text.strip_prefix("sqlite:") {
            sqlite(rest.strip_prefix("//").unwrap_or(rest))?
        } else if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            postgres(text)?;
            DatabasePlace::Postgres
        } else {
            return Err("must begin with sqlite: or postgres://".to_owned());
        };
        Ok(Self { text: text.to_owned(), place })
    }
}

const IN_MEMORY: &str = "a database in memory, which forgets every order, is written sqlite::memory: without more";

/// Reads what follows `sqlite:` or `sqlite://`.
fn sqlite(rest: &str) -> Result<DatabasePlace, String> {
    if rest == ":memory:" {
        return Ok(DatabasePlace::Memory);
    }
    let (path, parameters) = match rest.split_once('?') {
        Some((path, parameters)) => (path, Some(parameters)),
        None => (rest, None),
    };
    let path = sqlite_file(path)?;
    let create = match parameters {
        Some(parameters) => sqlite_parameters(parameters)?,
        None => false,
    };
    Ok(DatabasePlace::File(SqliteFile { path, create }))
}

/// Whether the file is created. `mode=rw` and `mode=rwc` are all that may be said: an engine writes to its database, and
/// what else SQLite knows (`cache`, `immutable`, `vfs`, …) would take away what the engine promises.
fn sqlite_parameters(text: &str) -> Result<bool, String> {
    let mut create = None;
    for parameter in text.split('&') {
        let now = match parameter {
            "mode=rwc" => true,
            "mode=rw" => false,
            "mode=memory" => return Err(format!("mode=memory is not taken: {IN_MEMORY}")),
            "mode=ro" => return Err("mode=ro is not taken: the engine writes to its database".to_owned()),
            _ => {
                let name = quotable(parameter.split('=').next().unwrap_or_default());
                return Err(format!("{name} is not taken: a SQLite file has no parameter but mode=rwc or mode=rw"));
            }
        };
        if create.replace(now).is_some() {
            return Err("mode is given twice".to_owned());
        }
    }
    Ok(create.unwrap_or(false))
}

fn sqlite_file(text: &str) -> Result<PathBuf, String> {
    if text.contains('#') {
        return Err("a # in a path is written %23".to_owned());
    }
    let path = decoded(text)?;
    if path.is_empty() {
        return Err(format!("names no file: write sqlite://PATH?mode=rwc; {IN_MEMORY}"));
    }
    // SQLite itself would take these for something else than a path, or a person would.
    if path.contains(":memory:") {
        return Err(IN_MEMORY.to_owned());
    }
    if path.starts_with("file:") || path.starts_with("sqlite:") || path.starts_with(':') {
        return Err("names a path that begins like a URL: write sqlite://PATH?mode=rwc".to_owned());
    }
    if path.starts_with('~') {
        return Err("~ means nothing here: write the whole path, sqlite:///home/…".to_owned());
    }
    if path.ends_with('/') || Path::new(&path).file_name().is_none() || path.ends_with("/.") {
        return Err("names a folder, not a file: write sqlite://FOLDER/FILE?mode=rwc".to_owned());
    }
    Ok(path.into())
}

/// What a PostgreSQL URL may say behind the question mark.
const POSTGRES_PARAMETERS: [&str; 19] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "options[…]",
];

/// Checks that a PostgreSQL URL says where the database is, and nothing that would be ignored.
fn postgres(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(
        |_| "is no URL: write postgres://USER:PASSWORD@HOST/DATABASE, with # / ? @ : and % in them percent-encoded",
    )?;
    if url.fragment().is_some() {
        return Err("a # is written %23".to_owned());
    }
    let host = url.host_str().map(decoded).transpose()?;
    let user = (!url.username().is_empty()).then(|| decoded(url.username())).transpose()?;
    let password = url.password().map(decoded).transpose()?;
    let database = url.path().strip_prefix('/').unwrap_or(url.path());
    if database.contains('/') {
        return Err("names more than a database behind the host: a / in a name is written %2F".to_owned());
    }
    let database = (!database.is_empty()).then(|| decoded(database)).transpose()?;
    let mut said = BTreeMap::new();
    said.extend(host.map(|host| ("host".to_owned(), host)));
    said.extend(url.port().map(|port| ("port".to_owned(), port.to_string())));
    said.extend(user.map(|user| ("user".to_owned(), user)));
    said.extend(password.map(|password| ("password".to_owned(), password)));
    said.extend(database.map(|database| ("dbname".to_owned(), database)));
    // A pair is taken apart here and not by the URL's own reader, which lets broken percent signs pass.
    for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(&value.replace('+', " "))?);
        postgres_parameter(&name, &value)?;
        // The same again is no contradiction, but another value for the same thing is.
        if said.insert(one_name(&name).to_owned(), value.clone()).is_some_and(|before| before != value) {
            return Err(format!("{} is given twice", quotable(&name)));
        }
    }
    let host = said.get("host").map_or("", String::as_str);
    if host.is_empty() && !said.contains_key("hostaddr") {
        return Err("names no host: write postgres://HOST/DATABASE".to_owned());
    }
    if host.contains(',') {
        return Err("names several hosts: an engine uses one server".to_owned());
    }
    if said.get("dbname").is_none_or(String::is_empty) {
        return Err("names no database: write postgres://HOST/DATABASE".to_owned());
    }
    if said.get("port").is_some_and(|port| port == "0") {
        return Err("port must be from 1 to 65535".to_owned());
    }
    // What the driver says of a wrong URL may quote it, so it is not repeated.
    text.parse::<PgConnectOptions>().map(drop).map_err(|_| "cannot be read by the PostgreSQL driver".to_owned())
}

fn postgres_parameter(name: &str, value: &str) -> Result<(), String> {
    let is_option = name.strip_prefix("options[").and_then(|name| name.strip_suffix(']')).is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    });
    if !is_option && !POSTGRES_PARAMETERS.contains(&name) {
        let known = POSTGRES_PARAMETERS.join(", ");
        return Err(format!("{} is no parameter of a PostgreSQL URL: there are {known}", quotable(name)));
    }
    if value.is_empty() {
        return Err(format!("{} has no value", quotable(name)));
    }
    match name {
        "sslmode" | "ssl-mode" if value.parse::<PgSslMode>().is_err() => {
            Err(format!("{name} must be disable, allow, prefer, require, verify-ca or verify-full"))
        }
        "port" if value.parse::<u16>().is_err() => Err("port must be from 1 to 65535".to_owned()),
        "hostaddr" if value.parse::<IpAddr>().is_err() => Err("hostaddr must be an IP address".to_owned()),
        "statement-cache-capacity" if value.parse::<usize>().is_err() => {
            Err("statement-cache-capacity must be a number".to_owned())
        }
        _ => Ok(()),
    }
}

/// The driver knows some parameters by several names.
fn one_name(name: &str) -> &str {
    match name {
        "ssl-mode" => "sslmode",
        "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        name => name,
    }
}

/// A part of a URL without its percent signs. A half-written one is a mistake, and no name has control characters.
fn decoded(part: &str) -> Result<String, String> {
    let mut after = part.split('%');
    let _before_the_first = after.next();
    if after.any(|code| !code.as_bytes().get(..2).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))) {
        return Err("a % is written %25".to_owned());
    }
    let decoded = percent_decode_str(part).decode_utf8().map_err(|_| "must be UTF-8 behind its percent signs")?;
    if decoded.chars().any(char::is_control) {
        return Err("must have no control characters".to_owned());
    }
    Ok(decoded.into_owned())
}

/// A parameter's name for an error. What does not look like a name may be part of a password that was not encoded.
fn quotable(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-[]".contains(&byte);
    match name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
        true => "a parameter".to_owned(),
        false => format!("the parameter {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<DatabasePlace, String> {
        text.parse::<DatabaseUrl>().map(|url| url.place)
    }

    fn file(path: &str, create: bool) -> Result<DatabasePlace, String> {
        Ok(DatabasePlace::File(SqliteFile { path: path.into(), create }))
    }

    #[test]
    fn a_sqlite_url_names_its_file_and_whether_to_make_it() {
        for (url, path, create) in [
            ("sqlite://x.db", "x.db", false),
            ("sqlite:x.db?mode=rw", "x.db", false),
            ("sqlite://./x.db?mode=rwc", "./x.db", true),
            ("sqlite:///var/lib/x.db?mode=rwc", "/var/lib/x.db", true),
            ("sqlite:/var/lib/x.db", "/var/lib/x.db", false),
            ("sqlite://%78.db", "x.db", false),
            ("sqlite://a%20b%3F%23%25.db", "a b?#%.db", false),
            ("sqlite://caf%C3%A9.db", "café.db", false),
        ] {
            assert_eq!(place(url), file(path, create), "{url}");
        }
    }

    #[test]
    fn only_a_url_that_says_memory_means_memory() {
        assert_eq!(place("sqlite::memory:"), Ok(DatabasePlace::Memory));
        assert_eq!(place("sqlite://:memory:"), Ok(DatabasePlace::Memory));
        for url in [
            "sqlite:",
            "sqlite://",
            "sqlite:?mode=rwc",
            "sqlite://?mode=memory",
            "sqlite://x.db?mode=memory",
            "sqlite://x.db?mode=rwc&mode=memory",
            "sqlite::memory:?cache=shared",
            "sqlite::memory:?",
            "sqlite:file::memory:",
            "sqlite:file::memory:?cache=shared",
            "sqlite:file:x.db?mode=memory",
            "sqlite://%3Amemory%3A",
            "sqlite:///:memory:",
            "sqlite://:memory:/",
        ] {
            assert!(place(url).is_err(), "{url} is {:?}", place(url));
        }
    }

    #[test]
    fn a_sqlite_url_that_could_mean_something_else_is_refused_with_the_reason() {
        for (url, reason) in [
            ("sqlite://x.db?mode=ro", "mode=ro"),
            ("sqlite://x.db?cache=shared", "the parameter cache"),
            ("sqlite://x.db?immutable=1", "the parameter immutable"),
            ("sqlite://x.db?vfs=unix-none", "the parameter vfs"),
            ("sqlite://x.db?mode=rwc&mode=rw", "twice"),
            ("sqlite://x.db?mode", "the parameter mode"),
            ("sqlite://x.db?", "a parameter"),
            ("sqlite://x.db?Mode=rwc", "the parameter Mode"),
            ("sqlite://x.db#y", "%23"),
            ("sqlite://x%00.db", "control"),
            ("sqlite://x\n.db", "control"),
            ("sqlite://x%.db", "%25"),
            ("sqlite://x%zz.db", "%25"),
            ("sqlite://x%FF.db", "UTF-8"),
            ("sqlite://~/x.db", "~"),
            ("sqlite:file:x.db", "begins like a URL"),
            ("sqlite://%66ile:x.db", "begins like a URL"),
            ("sqlite://sqlite://x.db", "begins like a URL"),
            ("sqlite:///", "folder"),
            ("sqlite:///var/lib/", "folder"),
            ("sqlite://.", "folder"),
            ("sqlite://..", "folder"),
            ("sqlite://data/.", "folder"),
            ("SQLITE://x.db", "must begin"),
            ("x.db", "must begin"),
        ] {
            let error = place(url).unwrap_err();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn a_postgres_url_names_host_and_database() {
        for url in [
            "postgres://db/orders",
            "postgresql://me:hunter2@db:5432/orders?sslmode=disable&application_name=desk",
            "postgres:///orders?host=/var/run/postgresql",
            "postgres://%2Fvar%2Frun%2Fpostgresql/orders",
            "postgres://[::1]:5432/orders",
            "postgres://db?dbname=orders",
            "postgres://me@db/orders?user=me&options[search_path]=engine",
        ] {
            assert_eq!(place(url), Ok(DatabasePlace::Postgres), "{url}");
        }
    }

    #[test]
    fn a_postgres_url_with_a_part_missing_unknown_or_contradictory_is_refused_by_name() {
        for (url, reason) in [
            ("postgres:orders", "must begin"),
            ("postgres://", "no host"),
            ("postgres:///orders", "no host"),
            ("postgres://db", "no database"),
            ("postgres://db/", "no database"),
            ("postgres://db/orders/more", "%2F"),
            ("postgres://db/orders?sslmod=require", "the parameter sslmod"),
            ("postgres://db/orders?mode=rwc", "the parameter mode"),
            ("postgres://db/orders?sslmode=on", "sslmode must be"),
            ("postgres://db/orders?port=0", "port must be"),
            ("postgres://db:70000/orders", "no URL"),
            ("postgres://db/orders?port=many", "port must be"),
            ("postgres://db/orders?hostaddr=db", "hostaddr must be"),
            ("postgres://db/orders?user=me&user=you", "the parameter user is given twice"),
            ("postgres://db/orders?dbname=others", "the parameter dbname is given twice"),
            ("postgres://db/orders?user=", "no value"),
            ("postgres://one,two/orders", "several hosts"),
            ("postgres://db/or%zders", "%25"),
            ("postgres://db/orders%00", "control"),
            ("postgres://db/orders#1", "%23"),
        ] {
            let error = place(url).unwrap_err();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_that_was_not_encoded_is_not_repeated() {
        for url in [
            "postgres://me:1234?hunter2@db/orders",
            "postgres://me:12#hunter2@db/orders",
            "postgres://me:hunter2/@db/orders",
            "postgres://me:hunter2%@db/orders",
        ] {
            let error = place(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }
}

//! The URL of a PostgreSQL database.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sea_orm::sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::config::database_url::decode::{decode, parameter_name};
use crate::config::database_url::place::PostgresServer;
use crate::config::database_url::tls::{PostgresTls, TlsMode};

/// The parameters that a PostgreSQL URL may have.
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

/// Parses a PostgreSQL URL. It must name a database, and have nothing that would be ignored.
pub(super) fn parse(text: &str) -> Result<PostgresServer, String> {
    let url = Url::parse(text).map_err(
        |_| "is not a URL: write postgres://USER:PASSWORD@HOST/DATABASE and percent-encode # / ? @ : and % in each part",
    )?;
    if url.fragment().is_some() {
        return Err("write # as %23".to_owned());
    }
    let host = url.host_str().map(decode).transpose()?;
    let user = (!url.username().is_empty()).then(|| decode(url.username())).transpose()?;
    let password = url.password().map(decode).transpose()?;
    let database = url.path().strip_prefix('/').unwrap_or(url.path());
    if database.contains('/') {
        return Err("has more than a database name after the host: write / in a name as %2F".to_owned());
    }
    let database = (!database.is_empty()).then(|| decode(database)).transpose()?;
    let mut given = BTreeMap::new();
    given.extend(host.map(|host| ("host".to_owned(), host)));
    given.extend(url.port().map(|port| ("port".to_owned(), port.to_string())));
    given.extend(user.map(|user| ("user".to_owned(), user)));
    given.extend(password.map(|password| ("password".to_owned(), password)));
    given.extend(database.map(|database| ("dbname".to_owned(), database)));
    // The pairs are parsed here: the parser of the URL crate accepts incomplete percent signs.
    for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(&value.replace('+', " "))?);
        check_parameter(&name, &value)?;
        // Giving the same value twice is accepted.
        if given.insert(canonical_name(&name).to_owned(), value.clone()).is_some_and(|before| before != value) {
            return Err(format!("{} is given twice", parameter_name(&name)));
        }
    }
    let host = given.get("host").map_or("", String::as_str);
    if host.is_empty() && !given.contains_key("hostaddr") {
        return Err("names no host: write postgres://HOST/DATABASE".to_owned());
    }
    if host.contains(',') {
        return Err("names several hosts: the engine uses one server".to_owned());
    }
    if given.get("dbname").is_none_or(String::is_empty) {
        return Err("names no database: write postgres://HOST/DATABASE".to_owned());
    }
    if given.get("port").is_some_and(|port| port == "0") {
        return Err("port must be from 1 to 65535".to_owned());
    }
    // The error of the driver may quote the URL, so it is not shown.
    let options: PgConnectOptions = text.parse().map_err(|_| "cannot be read by the PostgreSQL driver".to_owned())?;
    // What the driver has understood: host, hostaddr and dbname can each be given in two places.
    let host = match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => options.get_host().trim_matches(['[', ']']).to_owned(),
    };
    let tls = PostgresTls::parse(&given, host.starts_with('/'))?;
    let database = options.get_database().unwrap_or_default().to_owned();
    Ok(PostgresServer { host, port: options.get_port(), database, tls })
}

fn check_parameter(name: &str, value: &str) -> Result<(), String> {
    let is_option = name.strip_prefix("options[").and_then(|name| name.strip_suffix(']')).is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    });
    if !is_option && !POSTGRES_PARAMETERS.contains(&name) {
        let known = POSTGRES_PARAMETERS.join(", ");
        return Err(format!(
            "{} is not supported in a PostgreSQL URL: the parameters are {known}",
            parameter_name(name)
        ));
    }
    if value.is_empty() {
        return Err(format!("{} has no value", parameter_name(name)));
    }
    match name {
        "sslmode" | "ssl-mode" => value.parse::<TlsMode>().map(drop),
        "port" if value.parse::<u16>().is_err() => Err("port must be from 1 to 65535".to_owned()),
        "hostaddr" if value.parse::<IpAddr>().is_err() => Err("hostaddr must be an IP address".to_owned()),
        "statement-cache-capacity" if value.parse::<usize>().is_err() => {
            Err("statement-cache-capacity must be a number".to_owned())
        }
        _ => Ok(()),
    }
}

/// The name of a parameter for which the driver has several.
fn canonical_name(name: &str) -> &str {
    match name {
        "ssl-mode" => "sslmode",
        "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "ssl-cert" => "sslcert",
        "ssl-key" => "sslkey",
        name => name,
    }
}

//! The URL of a SQLite database.

use std::path::{Path, PathBuf};

use crate::config::database_url::decode::{decode, parameter_name};
use crate::config::database_url::place::{DatabasePlace, SqliteFile};

const IN_MEMORY: &str = "for a database in memory, which loses every order, write sqlite::memory: and nothing else";

/// Parses what follows `sqlite:` or `sqlite://`.
pub(super) fn parse(rest: &str) -> Result<DatabasePlace, String> {
    if rest == ":memory:" {
        return Ok(DatabasePlace::Memory);
    }
    let (path, parameters) = match rest.split_once('?') {
        Some((path, parameters)) => (path, Some(parameters)),
        None => (rest, None),
    };
    let path = parse_path(path)?;
    let create = match parameters {
        Some(parameters) => parse_create(parameters)?,
        None => false,
    };
    Ok(DatabasePlace::File(SqliteFile { path, create }))
}

/// Whether the file is created. Only `mode=rw` and `mode=rwc` are accepted: the engine writes to its database, and the
/// other parameters of SQLite (`cache`, `immutable`, `vfs`, …) would break the guarantees of the engine.
fn parse_create(parameters: &str) -> Result<bool, String> {
    let mut create = None;
    for parameter in parameters.split('&') {
        let value = match parameter {
            "mode=rwc" => true,
            "mode=rw" => false,
            "mode=memory" => return Err(format!("mode=memory is not supported: {IN_MEMORY}")),
            "mode=ro" => return Err("mode=ro is not supported: the engine writes to its database".to_owned()),
            _ => {
                let name = parameter_name(parameter.split('=').next().unwrap_or_default());
                return Err(format!("{name} is not supported: the only parameters are mode=rwc and mode=rw"));
            }
        };
        if create.replace(value).is_some() {
            return Err("mode is given twice".to_owned());
        }
    }
    Ok(create.unwrap_or(false))
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.contains('#') {
        return Err("write # in a path as %23".to_owned());
    }
    let path = decode(text)?;
    if path.is_empty() {
        return Err(format!("names no file: write sqlite://PATH?mode=rwc; {IN_MEMORY}"));
    }
    // SQLite or a person would not understand the following as a path.
    if path.contains(":memory:") {
        return Err(IN_MEMORY.to_owned());
    }
    if path.starts_with("file:") || path.starts_with("sqlite:") || path.starts_with(':') {
        return Err("names a path that begins like a URL: write sqlite://PATH?mode=rwc".to_owned());
    }
    if path.starts_with('~') {
        return Err("~ is not expanded: write the whole path, sqlite:///home/…".to_owned());
    }
    if path.ends_with('/') || Path::new(&path).file_name().is_none() || path.ends_with("/.") {
        return Err("names a folder, not a file: write sqlite://FOLDER/FILE?mode=rwc".to_owned());
    }
    Ok(path.into())
}

//! Invalid settings: misspelled, malformed or misplaced. They are refused by name, and their secrets are not shown.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::json;

use crate::support::os::{run, run_aside};
use crate::support::process::{SWIFT, Server};

/// The exit code of a command, and everything that it printed.
#[track_caller]
fn printed_by(command: &mut Command) -> (Option<i32>, String) {
    let finished = run(command);
    (finished.code, finished.printed())
}

/// Fails unless the settings are refused with a message that contains these texts.
#[track_caller]
fn assert_refused(command: &mut Command, texts: &[&str]) {
    let (code, printed) = printed_by(command);
    assert_eq!(code, Some(78), "{printed}");
    for text in texts {
        assert!(printed.contains(text), "{text} is not in:\n{printed}");
    }
}

/// The value of one key in the output of `config`.
#[track_caller]
fn setting(command: &mut Command, key: &str) -> String {
    let (code, printed) = printed_by(command);
    assert_eq!(code, Some(0), "{printed}");
    let line = printed.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key} in:\n{printed}")).trim().to_owned()
}

#[test]
fn a_log_level_that_would_log_nothing_is_refused_by_name() {
    let server = Server::stopped([]);
    for level in
        ["warning", "verbose", "infos", "order_engine", "info,warning", "info,sqlx=warning", "sqlx=", ",", "2x"]
    {
        for variable in ["LOG_LEVEL", "RUST_LOG", "ORDER_ENGINE__LOG__LEVEL"] {
            let texts = ["log.level: ", "error, warn, info, debug, trace or off", variable];
            assert_refused(server.command(&["config"]).env_remove("LOG_LEVEL").env(variable, level), &texts);
        }
    }
    for level in ["warn", "INFO", "off", "info,sqlx=off", "order_engine[order{id=1}]=trace,warn", " debug , sqlx=warn"]
    {
        assert!(setting(server.command(&["config"]).env("LOG_LEVEL", level), "log.level").starts_with(level.trim()));
    }
}

#[test]
fn a_misspelled_variable_stops_every_command_with_the_right_spelling() {
    let server = Server::stopped([]);
    let right = "did you mean ORDER_ENGINE__AUTH__REQUIRED?";
    for name in [
        "ORDER_ENGINE_AUTH__REQUIRED",
        "ORDER_ENGINE__AUTH_REQUIRED",
        "ORDER_ENGINE__AUTH__REQUIERD",
        "order_engine__auth__required",
    ] {
        for arguments in [&[][..], &["serve"], &["config"], &["migrate"], &["orders"], &["submit", "SOL", "USDC", "1"]]
        {
            assert_refused(server.command(arguments).env(name, "true"), &[name, right]);
        }
    }
    // Every error is reported, not only the first.
    let both = [("ORDER_ENGINE_AUTH__REQUIRED", "true"), ("PORT", "70000")];
    assert_refused(server.command(&["config"]).envs(both), &[right, "server.port: "]);
}

#[test]
fn a_profile_reads_exactly_its_own_file() {
    let server = Server::stopped([]);
    let folder = server.file("config");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("desk.toml"), "[orders]\nmax_open = 7\n").unwrap();
    std::fs::write(server.file("outside.toml"), "[orders]\nmax_open = 8\n").unwrap();
    for profile in ["desk.eu", "desk.toml", "../outside", "config/desk", ".", "..", "", " ", "desk\n"] {
        assert_refused(&mut server.command(&["config", "--profile", profile]), &["profile: must be"]);
    }
    assert_refused(&mut server.command(&["config", "--profile", "dsk"]), &["profile: config/dsk.toml: No such file"]);
    assert!(setting(&mut server.command(&["config", "--profile", "desk"]), "orders.max_open").starts_with("7 "));
    assert_refused(server.command(&["config"]).env("ORDER_ENGINE_PROFILE", "desk.eu"), &["profile: must be"]);
    std::fs::write(folder.join("near.toml"), "[orders]\nmax_opne = 7\n[auth]\nrequired = \"yes\"\n").unwrap();
    let texts =
        ["orders.max_opne: ", "config/near.toml", "did you mean orders.max_open?", "auth.required: must be true or"];
    assert_refused(&mut server.command(&["config", "--profile", "near"]), &texts);
    std::fs::write(folder.join("flat.toml"), "orders = 7\n").unwrap();
    assert_refused(&mut server.command(&["config", "--profile", "flat"]), &["orders: is a section"]);
}

#[actix::test]
async fn an_empty_variable_counts_as_unset() {
    let server = Server::start(SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    let mut command = server.command(&["watch", &id]);
    command.env("ORDER_ENGINE_URL", server.client.url()).env("ORDER_ENGINE_TOKEN", "");
    let watch = run_aside(command).await;
    assert!(watch.code == Some(0) && watch.stdout.contains("confirmed"), "{watch:?}");
    let empty =
        ["PROFILE", "CONFIG_DIR", "URL", "TOKEN", "_AUTH__REQUIRED"].map(|name| (format!("ORDER_ENGINE_{name}"), ""));
    assert!(setting(server.command(&["config"]).envs(empty), "auth.required").starts_with("false"));
    let (code, printed) = printed_by(server.command(&["orders", "--help"]).env("ORDER_ENGINE_URL", ""));
    assert!(code == Some(0) && printed.contains("[default: http://127.0.0.1:3000]"), "{printed}");
}

#[test]
fn a_token_that_no_header_can_have_is_refused_and_not_shown() {
    let server = Server::stopped([]);
    for token in ["hunter2\n", "hun\nter2", "hunter2\r\nx: y", "hünter2", "hun ter2", "\thunter2"] {
        for arguments in [&["orders"][..], &["submit", "SOL", "USDC", "1"], &["watch", "x"], &["cancel", "x"]] {
            let (code, printed) = printed_by(server.command(arguments).env("ORDER_ENGINE_TOKEN", token));
            assert!(code == Some(78) && printed.contains("ORDER_ENGINE_TOKEN: "), "{token:?}: {printed}");
            assert!(!printed.contains("ter2") && !printed.contains("panic"), "{printed}");
        }
        let (code, printed) = printed_by(&mut server.command(&["orders", "--token", token]));
        assert!(code == Some(78) && printed.contains("--token: ") && !printed.contains("ter2"), "{printed}");
    }
    let token = ("ORDER_ENGINE__METRICS__TOKEN", "hunter2\nhunter2-hunter2");
    let (code, printed) = printed_by(server.command(&["serve"]).envs([token]));
    assert!(code == Some(78) && printed.contains("metrics.token: ") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_only_if_it_is_a_setting() {
    let server = Server::stopped([]);
    let garbled = OsStr::from_bytes(b"hunter2\xff");
    let mut command = server.command(&["config"]);
    command.env("UNRELATED", garbled).env(OsStr::from_bytes(b"NO\xffNAME"), "x");
    assert_eq!(printed_by(&mut command).0, Some(0));
    for name in ["DATABASE_URL", "ORDER_ENGINE__SERVER__PORT", "ORDER_ENGINE_PROFILE"] {
        assert_refused(server.command(&["serve"]).env(name, garbled), &[&format!("{name}: is not UTF-8")]);
    }
    for name in ["ORDER_ENGINE_URL", "ORDER_ENGINE_TOKEN"] {
        assert_refused(server.command(&["orders"]).env(name, garbled), &[&format!("{name}: is not UTF-8")]);
    }
}

#[test]
fn numbers_with_units_and_booleans_of_other_kinds_are_refused_by_name() {
    let server = Server::stopped([]);
    for (key, wrong) in [
        ("orders.timeout_ms", "10s"),
        ("orders.timeout_ms", "1e3"),
        ("orders.timeout_ms", "-1"),
        ("orders.timeout_ms", "0"),
        ("orders.timeout_ms", "1_000"),
        ("orders.timeout_ms", "18446744073709551615"),
        ("orders.timeout_ms", "18446744073709551616"),
        ("server.port", "65536"),
        ("orders.max_open", "10 000"),
        ("auth.required", "yes"),
        ("auth.required", "1"),
        ("auth.required", "True"),
        ("limits.loopback", "on"),
        ("log.format", "JSON"),
    ] {
        let name = format!("ORDER_ENGINE__{}", key.to_uppercase().replace('.', "__"));
        assert_refused(server.command(&["config"]).env(&name, wrong), &[&format!("{key}: ")]);
    }
}

#[test]
fn a_password_in_a_malformed_url_is_not_shown() {
    let server = Server::stopped([]);
    for url in [
        "postgres://me:hun?ter2@h/db",
        "postgres://me:12?ter2@h/db",
        "postgres://me:hun#ter2@h/db",
        "postgres://me:hun/ter2@h/db",
        "postgres:me:hunter2@h/db",
        "postgres//me:hunter2@h/db",
        "postgres://me%3Ahunter2%40h/db",
        "postgres://me:hunter2%40h/db",
        "postgres://me:hunter2@h/db?sslpassword=hunter2",
        "postgres://h/db?password=hunter2",
        "postgres://me:hunter2@h:x/db",
        "mysql://me:hunter2@h/db",
        "hunter2",
    ] {
        for name in ["DATABASE_URL", "ORDER_ENGINE__DATABASE__URL"] {
            let (_, printed) = printed_by(server.command(&["config"]).env(name, url));
            assert!(!printed.contains("ter2"), "{url}:\n{printed}");
        }
    }
    for url in [
        "redis://:hun?ter2@h",
        "redis://:12?ter2@h",
        "redis://me:12/ter2@h",
        "redis:me:hunter2@h",
        "redis://:hunter2@h/x",
        "h:hunter2",
    ] {
        let (_, printed) = printed_by(server.command(&["config"]).env("REDIS_URL", url));
        assert!(!printed.contains("ter2"), "{url}:\n{printed}");
    }
    // A URL as the value of another setting.
    for name in [
        "HOST",
        "PORT",
        "LOG_LEVEL",
        "ORDER_ENGINE__LOG__FORMAT",
        "ORDER_ENGINE__SIMULATION__LEDGER",
        "ORDER_ENGINE__AUTH__REQUIRED",
    ] {
        let (_, printed) = printed_by(server.command(&["config"]).env(name, "postgres://me:hunter2@h/db"));
        assert!(!printed.contains("hunter2"), "{name}:\n{printed}");
    }
}

#[test]
fn a_toml_error_is_reported_by_line_and_column_without_the_secret() {
    let server = Server::stopped([]);
    std::fs::create_dir(server.file("config")).unwrap();
    for secret in [
        "secret = \"hunter2",
        "secret = hunter2",
        "secret = 'hunter2' 'hunter2'",
        "secret = hunter2-hunter2 = 1",
        "secret = 99999999999999999999999999hunter2",
        "secret = \"hunter2-hunter2-hunter2-hunter2-hunter2\"\nsecret = \"hunter2\"",
        "secret = [\"hunter2\"",
        "secret = 7777777777777777777777777777777777777777",
        "secret = 7777777777777777777777777",
        "secret = 0x7777777777777777777777777",
        "secret = 7777-77-77T77:77:77",
        "secret = 7777777777777777777777777.",
        "secret = 7777_7777__7777",
        "secret = +7777777e",
        "secret = '''7777777",
        "secret = { a = \"hunter2\" }",
        "\"hunter2 = 1",
        "secret = \"hunter2\\q\"",
    ] {
        std::fs::write(server.file("config/desk.toml"), format!("[auth]\n{secret}\n")).unwrap();
        let (code, printed) = printed_by(&mut server.command(&["config", "--profile", "desk"]));
        assert!(code == Some(78) && !printed.contains("hunter2") && !printed.contains("7777"), "{secret}:\n{printed}");
    }
    std::fs::write(server.file("config/desk.toml"), "[auth]\nsecret = \"hunter2\n").unwrap();
    assert_refused(&mut server.command(&["serve", "--profile", "desk"]), &["config/desk.toml: line 2, column 1"]);
}

#[test]
fn a_password_in_the_clients_url_is_shown_neither_in_help_nor_in_errors() {
    let server = Server::stopped([]);
    for url in [
        "http://me:hunter2@127.0.0.1:9",
        "http://me:hun?ter2@127.0.0.1",
        "https://hunter2@h",
        "me:hunter2@h",
        "ftp://me:hunter2@h",
    ] {
        for arguments in
            [&["orders"][..], &["orders", "--help"], &["help", "orders"], &["orders", "--dance"], &["watch", "x"]]
        {
            let (_, printed) = printed_by(server.command(arguments).env("ORDER_ENGINE_URL", url));
            assert!(!printed.contains("ter2"), "{url} {arguments:?}:\n{printed}");
        }
        let (code, printed) = printed_by(&mut server.command(&["orders", "--url", url]));
        assert!(code == Some(78) && printed.contains("--url: ") && !printed.contains("ter2"), "{url}:\n{printed}");
    }
}

#[actix::test]
async fn wrong_settings_stop_the_start_and_each_is_named() {
    let server = Server::start([]);
    let refused = run(server.command(&["serve"]).env("PORT", "99999").env("MAX_CONCURRENT_ORDERS", "many"));
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("server.port") && refused.stderr.contains("orders.max_concurrent"), "{refused:?}");
}

#[test]
fn the_production_profile_needs_no_file_and_a_file_replaces_it() {
    let server = Server::stopped([]);
    let production = || server.command(&["config", "--profile", "production"]);
    assert_refused(&mut production(), &["database.url: is empty: set DATABASE_URL", "built-in profile production"]);
    assert_refused(&mut server.command(&["serve", "--profile", "production"]), &["set DATABASE_URL"]);
    let url = ("DATABASE_URL", "sqlite://orders.db?mode=rwc");
    for (key, value) in [("auth.required", "true "), ("log.format", "json "), ("server.shutdown_timeout_ms", "20000 ")]
    {
        assert!(setting(production().envs([url]), key).starts_with(value), "{key}");
    }
    std::fs::create_dir(server.file("config")).unwrap();
    std::fs::write(server.file("config/production.toml"), "[log]\nformat = \"text\"\n").unwrap();
    assert!(setting(production().envs([url]), "log.format").contains("config/production.toml"));
    assert!(setting(production().envs([url]), "auth.required").starts_with("false "), "the file replaces all of it");
}

#[test]
fn the_settings_of_the_systemd_unit_are_accepted() {
    let server = Server::stopped([]);
    let unit = include_str!("../../../deploy/order-engine.service");
    let variables = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    let mut command = server.command(&["config"]);
    command.envs(variables.filter(|(name, _)| *name != "ORDER_ENGINE_CONFIG_DIR"));
    assert!(setting(&mut command, "auth.required").starts_with("true "));
    assert!(setting(&mut command, "database.url").starts_with("sqlite:///var/lib/order-engine/order-engine.db"));
}

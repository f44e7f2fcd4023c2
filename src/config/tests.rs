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
    let (settings, entries) = read(builder).unwrap();
    assert_eq!(settings.server.port, 5000);
    assert_eq!(settings.orders.max_concurrent, 7);
    let entry = entries.iter().find(|entry| entry.key == "server.port").unwrap();
    assert_eq!(entry.source, "environment ORDER_ENGINE__SERVER__PORT");
}

#[test]
fn a_database_password_is_shown_nowhere() {
    let settings = Settings::with([("database.url", "postgres://me:hunter2@db:5432/orders?password=hunter2")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    let error = Settings::with([("database.url", "mysql://me:hunter2@db/orders")]).unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn a_metrics_token_is_shown_nowhere() {
    let token = |token: &str| {
        let token = ("metrics.token".to_owned(), token.to_owned(), "the test".to_owned());
        read(Config::builder().add_source(defaults()).add_source(NamedValues(vec![token])))
    };
    let (settings, entries) = token("hunter2-hunter2-hunter2").unwrap();
    assert!(!format!("{settings:?}{entries:?}").contains("hunter2"));
    assert!(!token("hunter2").unwrap_err().to_string().contains("hunter2"));
    assert!(token("").unwrap().0.metrics.token.is_none());
}

#[test]
fn hosts_and_origins_are_lists_of_plain_names() {
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
fn a_secret_is_shown_nowhere_and_refused_if_it_is_short() {
    let secret = "hunter2-hunter2-hunter2-hunter2-h";
    let given = ("auth.secret".to_owned(), secret.to_owned(), "the test".to_owned());
    let builder = Config::builder().add_source(defaults()).add_source(NamedValues(vec![given]));
    let (settings, entries) = read(builder).unwrap();
    assert!(matches!(&settings.auth.secret, SecretPlace::Given(given) if given.expose() == secret));
    assert!(!format!("{settings:?}{entries:?}").contains("hunter2"));
    let error = Settings::with([("auth.secret", &secret[..31])]).unwrap_err().to_string();
    assert!(error.starts_with("auth.secret: ") && !error.contains("hunter2"), "{error}");
}

#[test]
fn the_secret_file_is_beside_the_database_and_a_database_in_memory_has_none() {
    let place = |url: &str| Settings::with([("database.url", url)]).unwrap().auth.secret;
    let is_file = |place: SecretPlace, path: &str| matches!(place, SecretPlace::File(file) if file == Path::new(path));
    assert!(is_file(place("sqlite:///var/lib/orders.db?mode=rwc"), "/var/lib/orders.secret"));
    assert!(is_file(place("postgres://db/orders"), "order-engine.secret"));
    assert!(matches!(place("sqlite::memory:"), SecretPlace::Memory));
}

#[test]
fn an_engine_without_authentication_is_open_to_strangers_unless_it_is_loopback() {
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
        let (settings, entries) = read(builder(url)).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let shown = entries.iter().find(|entry| entry.key == "redis.url").unwrap();
        assert_eq!(shown.value, "redis://cache:6380/3");
    }
    for url in ["http://me:hunter2@cache", "redis://me:hunter2@cache/x", "hunter2"] {
        let error = read(builder(url)).unwrap_err().to_string();
        assert!(error.starts_with("redis.url: must be redis://") && !error.contains("hunter2"), "{error}");
    }
    let (settings, entries) = read(builder("rediss://me:hunter2@cache/3")).unwrap();
    assert!(settings.redis.url.unwrap().is_encrypted());
    assert_eq!(entries.iter().find(|entry| entry.key == "redis.url").unwrap().value, "rediss://cache:6379/3");
    let error = read(builder("rediss://:hunter2@cache/#insecure")).unwrap_err().to_string();
    assert!(error.contains("the certificate of Redis is always checked") && !error.contains("hunter2"), "{error}");
    let error = Settings::with([("redis.prefix", "a*b"), ("redis.quote_ttl_ms", "0")]).unwrap_err();
    assert_eq!(error.0.len(), 2, "{error}");
}

#[test]
fn a_wrong_file_of_tls_is_an_error_of_its_setting_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [good, key, missing] = ["good.pem", "key.pem", "missing.pem"].map(|name| folder.path().join(name));
    std::fs::write(&good, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let [good, key, missing] = [&good, &key, &missing].map(|path| path.display().to_string());
    let database =
        |parameters: &str| vec![("database.url", format!("postgres://db/x?sslmode=verify-full{parameters}"))];
    let redis = |url: &str, more: &[(&'static str, &str)]| {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        std::iter::once(("redis.url", url.to_owned())).chain(more).collect::<Vec<_>>()
    };
    let authority = ("redis.tls_ca_file", good.as_str());
    let pair = [authority, ("redis.tls_cert_file", &good), ("redis.tls_key_file", &key)];
    for right in [
        database(""),
        database(&format!("&sslrootcert={good}&sslcert={good}&sslkey={key}")),
        redis("rediss://cache", &[]),
        redis("rediss://cache", &pair),
    ] {
        let read = Settings::with(right.clone());
        assert!(read.is_ok(), "{right:?}: {read:?}");
    }
    for (wrong, setting, reason) in [
        (database(&format!("&sslrootcert={missing}")), "database.url: sslrootcert: ", "missing.pem"),
        (database(&format!("&sslrootcert={key}")), "database.url: sslrootcert: ", "key.pem"),
        (database(&format!("&sslcert={good}&sslkey={missing}")), "database.url: sslcert and sslkey: ", "missing.pem"),
        (redis("rediss://cache", &[("redis.tls_ca_file", &missing)]), "redis.tls_ca_file: ", "missing.pem"),
        (redis("redis://cache", &[authority]), "redis.tls_ca_file: ", "rediss://"),
        (redis("rediss://cache", &pair[..2]), "redis.tls_cert_file: ", "redis.tls_key_file"),
    ] {
        let ConfigError(errors) = Settings::with(wrong.clone()).unwrap_err();
        let [error] = errors.as_slice() else { panic!("{wrong:?}: {errors:?}") };
        assert!(error.starts_with(setting) && error.contains(reason), "{wrong:?}: {error}");
    }
}

use super::*;

fn place(text: &str) -> Result<DatabasePlace, String> {
    text.parse::<DatabaseUrl>().map(|url| url.place)
}

fn file(path: &str, create: bool) -> Result<DatabasePlace, String> {
    Ok(DatabasePlace::File(SqliteFile { path: path.into(), create }))
}

#[test]
fn a_sqlite_url_names_its_file_and_whether_to_create_it() {
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
        assert!(matches!(place(url), Ok(DatabasePlace::Postgres(_))), "{url}: {:?}", place(url));
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
        ("postgres://db/orders?sslmode=allow", "sslmode=allow is not supported"),
        ("postgres://db/orders?sslmode=disable&sslrootcert=ca.pem", "sslrootcert has no effect with sslmode=disable"),
        ("postgres://db/orders?ssl-mode=require&ssl-ca=ca.pem", "sslrootcert has no effect with sslmode=require"),
        ("postgres://db/orders?sslrootcert=ca.pem", "sslrootcert has no effect with sslmode=prefer"),
        ("postgres://db/orders?sslmode=verify-full&sslrootcert=system", "sslrootcert=system is not supported"),
        ("postgres://db/orders?sslmode=verify-full&sslcert=me.pem", "sslcert and sslkey must be given together"),
        ("postgres://db/orders?sslmode=disable&sslcert=me.pem&sslkey=me.key", "sslcert has no effect"),
        ("postgres:///orders?host=/run/postgresql&sslmode=require", "does not encrypt a socket"),
        ("postgres://%2Frun%2Fpostgresql/orders?sslmode=verify-full", "does not encrypt a socket"),
        ("postgres://db/orders?port=0", "port must be"),
        ("postgres://db:70000/orders", "not a URL"),
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
fn a_password_that_was_not_encoded_is_not_shown() {
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

#[test]
fn a_postgres_url_says_where_the_server_is_and_how_the_connection_is_encrypted() {
    let server = |url: &str| match place(url) {
        Ok(DatabasePlace::Postgres(server)) => server,
        other => panic!("{url}: {other:?}"),
    };
    for (url, shown, on_this_machine, mode) in [
        ("postgres://me:hunter2@db/orders", "orders at db:5432", false, TlsMode::Prefer),
        ("postgres://127.0.0.1:6000/x?sslmode=disable", "x at 127.0.0.1:6000", true, TlsMode::Disable),
        ("postgres://[::1]/x?sslmode=REQUIRE", "x at [::1]:5432", true, TlsMode::Require),
        ("postgres://Localhost/x?sslmode=verify-ca", "x at Localhost:5432", true, TlsMode::VerifyCa),
        ("postgres://db/x?sslmode=verify-full&port=6000", "x at db:6000", false, TlsMode::VerifyFull),
        ("postgres://db/x?hostaddr=10.0.0.7", "x at 10.0.0.7:5432", false, TlsMode::Prefer),
        ("postgres://%2Frun%2Fpostgresql/x", "x at /run/postgresql:5432", true, TlsMode::Prefer),
    ] {
        let server = server(url);
        assert_eq!(server.to_string(), shown);
        assert_eq!((server.is_on_this_machine(), server.tls.mode), (on_this_machine, mode), "{url}");
    }
}

#[test]
fn verify_ca_is_refused_where_it_would_trust_public_authorities_for_any_name() {
    let url: DatabaseUrl = "postgres://db/orders?sslmode=verify-ca".parse().unwrap();
    let error = url.postgres().unwrap().tls.check_files().unwrap_err();
    assert!(error.contains("verify-full") && error.contains("SSL_CERT_FILE"), "{error}");
}

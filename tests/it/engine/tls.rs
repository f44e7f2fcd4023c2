//! TLS to PostgreSQL and Redis: what is accepted, what is refused and how it is told.

use serde_json::json;

use crate::support::announcements::Subscriber;
use crate::support::certificates::Authority;
use crate::support::client::Answer;
use crate::support::os::{Finished, run};
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};
use crate::support::redis::Redis;

const PASSWORD: &str = "canary-tls-5d1e";

/// Brings the schema up to date, which needs the lock and the store.
fn migrate(url: &str, environment: &[(&str, &str)]) -> Finished {
    let server = Server::stopped([("database.url", url)]);
    let mut command = server.command(&["migrate"]);
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR").envs(environment.iter().copied());
    let finished = run(&mut command);
    assert!(!finished.printed().contains(PASSWORD), "{finished:?}");
    finished
}

#[track_caller]
fn assert_accepted(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[track_caller]
fn assert_refused(finished: &Finished, reason: &str) {
    let is_named = finished.stderr.contains(reason) && finished.stderr.contains("database.url: ");
    assert!(finished.code == Some(78) && is_named, "{reason}: {finished:?}");
}

#[actix::test]
async fn every_connection_to_postgres_is_encrypted_with_verify_full() {
    let postgres = Postgres::start_with_tls();
    let parameters = format!("sslmode=verify-full&sslrootcert={}", postgres.authority_file().display());
    let server = Server::start_on(&postgres.url_with("localhost", PASSWORD, &parameters), SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&id).await;
    let connections = postgres.sql(
        "SELECT bool_and(ssl), count(*) > 1, bool_or(application_name LIKE 'order-engine lock %') \
         FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name LIKE 'order-engine %'",
    );
    assert_eq!(connections, "t|t|t");
    // PostgreSQL would refuse a connection without TLS.
    let refused = migrate(&postgres.url_with("127.0.0.1", PASSWORD, "sslmode=disable"), &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("no encryption"), "{refused:?}");
}

#[test]
fn a_wrong_certificate_of_postgres_is_refused_by_name_at_the_start() {
    let postgres = Postgres::start_with_tls();
    let authority = Authority::trusted();
    let folder = tempfile::tempdir().unwrap();
    let stranger = folder.path().join("stranger.pem");
    std::fs::write(&stranger, Authority::new("stranger").pem()).unwrap();
    let url = |parameters: &str| postgres.url_with("127.0.0.1", PASSWORD, parameters);
    let right = postgres.authority_file().display().to_string();
    let full = |file: &str| url(&format!("sslmode=verify-full&sslrootcert={file}"));
    let address = url("").split(['@', '/']).nth(3).unwrap().to_owned();
    let about = |reason: &str| format!("the certificate of {address} {reason}");

    assert_accepted(&migrate(&full(&right), &[]));
    let not_trusted = about("is not signed by a trusted authority");
    assert_refused(&migrate(&full(&stranger.display().to_string()), &[]), &not_trusted);
    // The authorities of the system.
    assert_refused(&migrate(&url("sslmode=verify-full"), &[]), &not_trusted);
    assert_accepted(&migrate(&url("sslmode=verify-full"), &[("SSL_CERT_FILE", &right)]));
    assert_accepted(&migrate(&url("sslmode=require"), &[]));
    assert_accepted(&migrate(&url("sslmode=prefer"), &[]));

    postgres.present(&authority.certificate_of_another_name());
    assert_refused(&migrate(&full(&right), &[]), &about("is for another name"));
    let without_name = url(&format!("sslmode=verify-ca&sslrootcert={right}"));
    assert_refused(&migrate(&without_name, &[]), "sslmode=verify-ca checks no name");
    assert_accepted(&migrate(&without_name, &[("SSL_CERT_FILE", &right)]));

    postgres.present(&authority.expired_certificate());
    assert_refused(&migrate(&full(&right), &[]), &about("has expired"));
    postgres.present(&authority.as_server());
    assert_refused(&migrate(&full(&right), &[]), &about("is that of an authority"));
}

#[test]
fn a_postgres_without_tls_is_refused_by_name_if_the_url_requires_it() {
    let postgres = Postgres::start_without_tls();
    let address = postgres.url().split(['@', '/', '?']).nth(3).unwrap().to_owned();
    for mode in ["require", "verify-full"] {
        let refused = migrate(&postgres.url_with("127.0.0.1", PASSWORD, &format!("sslmode={mode}")), &[]);
        assert_refused(&refused, &format!("{address} does not offer TLS"));
    }
}

#[test]
fn a_postgres_that_asks_for_a_certificate_gets_that_of_the_engine() {
    let mut postgres = Postgres::start_with_tls();
    postgres.stop();
    postgres.require_client_certificates();
    postgres.restart();
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = Authority::trusted().write_client_certificate(folder.path());
    let refused = migrate(&postgres.url(), &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains("valid client certificate"), "{refused:?}");
    assert_accepted(&migrate(&format!("{}&sslcert={certificate}&sslkey={key}", postgres.url()), &[]));
}

#[actix::test]
async fn a_certificate_of_postgres_that_turns_wrong_is_named_by_ready_until_it_is_right_again() {
    let postgres = Postgres::start_with_tls();
    let parameters = format!("sslmode=verify-full&sslrootcert={}", postgres.authority_file().display());
    let url = postgres.url_with("127.0.0.1", PASSWORD, &parameters);
    let mut server = Server::stopped(SWIFT.into_iter().chain([("database.url", url.as_str()), ("LOG_LEVEL", "trace")]));
    let log = server.file("log");
    server.log_to(&log);
    server.restart();
    let authority = Authority::trusted();
    for (wrong, reason) in [
        (authority.expired_certificate(), "has expired"),
        (authority.certificate_of_another_name(), "is for another name"),
        (Authority::new("stranger").certificate(), "is not signed by a trusted authority"),
    ] {
        let postgres = &postgres;
        postgres.present(&wrong);
        let named = format!("the database cannot be reached: its certificate {reason}");
        let is_named = |ready: &Answer| ready.status == 503 && ready.body["reasons"][0] == named;
        let ready = server.client.until_ready(&named, is_named).await;
        assert!(!format!("{ready:?}").contains(PASSWORD), "{ready:?}");
        postgres.present(&authority.certificate());
        server.client.until_ready("200", |ready| ready.status == 200).await;
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_confirmed(&id).await;
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("the certificate of 127.0.0.1:") && log.contains(" has expired: renew it"), "{log}");
    assert!(!log.contains(PASSWORD), "the password is in the log");
}

#[test]
fn a_plain_connection_to_another_machine_is_a_warning_unless_the_url_asks_for_it() {
    let postgres = Postgres::start_without_tls();
    let mut server = Server::stopped(SWIFT);
    let log = server.file("log");
    server.log_to(&log);
    // To the engine, this is the name of another machine; to the system, it is 127.0.0.1.
    for (host, parameters, warns) in
        [("127.1", "", true), ("127.1", "sslmode=disable", false), ("127.0.0.1", "", false), ("localhost", "", false)]
    {
        std::fs::write(&log, "").unwrap();
        server.set("database.url", &postgres.url_with(host, PASSWORD, parameters));
        server.restart();
        assert!(server.terminate().success());
        let log = std::fs::read_to_string(&log).unwrap();
        let is_warned = log.contains("is not encrypted, because the server does not offer TLS");
        assert!(is_warned == warns && !log.contains(PASSWORD), "{host} {parameters}: {log}");
    }
}

/// An engine that uses a Redis with a password in its URL, and its log.
fn engine_with(redis: &[(&str, String)]) -> Server {
    let redis = redis.iter().map(|(key, value)| (*key, value.as_str()));
    let mut server = Server::stopped(SWIFT.into_iter().chain(redis).chain([("LOG_LEVEL", "trace")]));
    server.log_to(&server.file("log"));
    server.restart();
    server
}

#[track_caller]
fn assert_logged(server: &Server, text: &str) {
    let log = std::fs::read_to_string(server.file("log")).unwrap();
    assert!(log.contains(text), "{text} is not in the log: {log}");
    assert!(!log.contains(PASSWORD), "the password is in the log");
}

#[actix::test]
async fn updates_are_published_to_redis_over_tls() {
    let redis = Redis::start_with_tls();
    redis.run("CONFIG SET tls-auth-clients yes");
    let server = engine_with(&redis.settings());
    server.client.until_ready_status("degraded").await;

    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = Authority::trusted().write_client_certificate(folder.path());
    let pair = [("redis.tls_cert_file", certificate), ("redis.tls_key_file", key)];
    let settings: Vec<_> = redis.settings().into_iter().chain(pair).collect();
    let server = engine_with(&settings);
    server.client.until_ready_status("ok").await;
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    assert_eq!(subscriber.until_ended(&id).await["orders"].len(), 5);
}

#[actix::test]
async fn a_wrong_certificate_of_redis_is_named_by_ready_and_loses_no_order() {
    let redis = Redis::start_with_tls();
    redis.run(&format!("ACL SETUSER desk on >{PASSWORD} ~* &* +@all"));
    let settings = redis.settings_at(redis.engine_port(), &format!("desk:{PASSWORD}@"));
    let authority = Authority::trusted();
    let server = engine_with(&settings);
    server.client.until_ready_status("ok").await;
    for (wrong, reason) in [
        (authority.expired_certificate(), "has expired"),
        (authority.certificate_of_another_name(), "is for another name"),
        (Authority::new("stranger").certificate(), "is not signed by a trusted authority"),
        (authority.as_server(), "is that of an authority, which a server must not use"),
    ] {
        redis.present(&wrong);
        let named = format!("redis cannot be reached: its certificate {reason}");
        let is_named = |ready: &Answer| ready.status == 200 && ready.body["reasons"][0] == named;
        let ready = server.client.until_ready(&named, is_named).await;
        assert!(!format!("{ready:?}").contains(PASSWORD), "{ready:?}");
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_confirmed(&id).await;
        redis.present(&authority.certificate());
        server.client.until_ready_status("ok").await;
        assert_logged(&server, &format!("the certificate of 127.0.0.1:{} {reason}", redis.engine_port()));
    }
}

#[actix::test]
async fn a_redis_of_an_unknown_authority_or_without_tls_is_not_used() {
    let redis = Redis::start_with_tls();
    let url = |port: u16| ("redis.url", format!("rediss://:{PASSWORD}@127.0.0.1:{port}"));
    // The authorities of the system.
    let server = engine_with(&[url(redis.engine_port())]);
    let named = "redis cannot be reached: its certificate is not signed by a trusted authority";
    server.client.until_ready(named, |ready| ready.body["reasons"][0] == named).await;
    assert_logged(&server, "name the file of its authority in redis.tls_ca_file");
    // The plain port.
    let server = engine_with(&[url(redis.port())]);
    let ready = server.client.until_ready_status("degraded").await;
    assert!(ready["reasons"][0].as_str().unwrap().starts_with("redis cannot be reached"), "{ready}");
    assert_logged(&server, &format!("127.0.0.1:{}", redis.port()));
}

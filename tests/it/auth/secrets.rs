//! Secrets: where they must not appear, and when the engine refuses to start.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;

use super::login;
use crate::support::client::{Answer, JSON};
use crate::support::os::run;
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};

#[actix::test]
async fn an_engine_on_a_public_address_does_not_start_without_authentication() {
    let server = Server::stopped(SWIFT);
    let serve = |arguments: &[&str], required: &str| {
        let mut command = server.command(arguments);
        command.env("HOST", "0.0.0.0").env("ORDER_ENGINE__AUTH__REQUIRED", required);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    for arguments in [&[][..], &["serve"]] {
        let refused = run(&mut serve(arguments, "false"));
        assert_eq!(refused.code, Some(78), "{refused:?}");
        assert!(refused.stderr.contains("server.host") && refused.stderr.contains("--insecure"), "{refused:?}");
    }
    for (arguments, required) in [(&["serve", "--insecure"][..], "false"), (&["serve"], "true")] {
        let mut child = serve(arguments, required).spawn().unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        assert!(greeting.contains("http://0.0.0.0:"), "{greeting}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[actix::test]
async fn a_short_secret_stops_the_start_with_the_name_of_its_setting() {
    let mut server = Server::stopped(SWIFT);
    let start = |server: &Server, name: &str, value: &str| {
        let refused = run(server.command(&["serve"]).env(name, value));
        (refused.code, refused.stderr)
    };
    let (code, error) = start(&server, "ORDER_ENGINE__AUTH__SECRET", "hunter2-is-too-short");
    assert!(code == Some(78) && error.contains("auth.secret: ") && !error.contains("hunter2"), "{error}");
    let file = server.file("short.secret");
    std::fs::write(&file, "hunter2-is-too-short").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (code, error) = start(&server, "ORDER_ENGINE__AUTH__SECRET_FILE", "short.secret");
    assert!(code == Some(78) && error.contains("auth.secret_file: ") && !error.contains("hunter2"), "{error}");
    server.restart();
    let mode = std::fs::metadata(server.file("order-engine.secret")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "only the owner can read the secret");
}

#[actix::test]
async fn no_secret_is_in_the_log_in_an_answer_or_in_printed_output() {
    const SECRETS: [(&str, &str); 5] = [
        ("the password", "canary-password-4f1c"),
        ("the next password", "canary-next-password-81d0"),
        ("the signing secret", "canary-secret-9b02-canary-secret-9b02"),
        ("the database's password", "canary-database-77aa"),
        ("Redis's password", "canary-redis-c3d8"),
    ];
    let [password, next_password, secret, database, redis] = SECRETS.map(|(_, text)| text);
    let postgres = Postgres::start();
    let database_url = postgres.url().replacen('@', &format!(":{database}@"), 1);
    let mut server = Server::stopped(SWIFT.into_iter().chain([
        ("auth.required", "true"),
        ("auth.secret", secret),
        ("database.url", database_url.as_str()),
        ("redis.url", &format!("redis://:{redis}@127.0.0.1:9")),
    ]));
    server.set("LOG_LEVEL", "trace");
    let log = server.file("log");
    server.log_to(&log);
    server.restart();
    let client = server.client.clone();

    // Every answer is searched too, except those whose purpose is to return a secret.
    let mut answers = vec![server.greeting.clone()];
    let mut keep = |answer: &Answer| answers.push(format!("{answer:?}"));
    let made = client.post("/api/auth", &login("alice", password)).await;
    let first = client.with(made.body["token"].as_str().unwrap());
    let change = json!({ "oldPassword": next_password, "newPassword": password });
    keep(&first.post("/api/auth/password", &change).await);
    let change = json!({ "oldPassword": password, "newPassword": next_password });
    let changed = first.post("/api/auth/password", &change).await;
    let token = changed.text("token").to_owned();
    let alice = client.with(&token);
    let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.text("key").to_owned();
    let ticket = alice.ticket().await;
    let id = client.with(&key).submit(json!({})).await.order_id();
    for socket in [
        alice.try_socket(&format!("/ws/orders/{id}")).await,
        client.socket_with(&format!("/ws/orders/{id}"), &["bearer", &key]).await,
        client.try_socket(&format!("/ws/orders/{id}?ticket={ticket}")).await,
    ] {
        socket.unwrap().until_closed().await.assert_gapless();
    }
    let broken = [
        format!(r#"{{"username":"alice","password":["{password}"]}}"#),
        format!(r#"{{"username":"alice","password":"{password}","token":"{token}"}}"#),
        format!(r#"{{"username":"alice","password":"{password}""#),
        format!(r#""{password}""#),
        format!(r#"{{"username":"{password} {token}","password":"short"}}"#),
    ];
    for body in broken {
        keep(&client.request("POST", "/api/auth/login", &[JSON], body).await);
    }
    keep(&client.post("/api/auth/register", &login("alice", password)).await);
    keep(&client.post("/api/auth/login", &login("unknown", password)).await);
    keep(&client.with(&format!("{token}x")).get("/api/orders").await);
    keep(&client.with(&format!("{key}x")).get("/api/orders").await);
    keep(&client.get(&format!("/api/orders?token={token}")).await);
    keep(&client.get(&format!("/ws/orders/{id}?ticket={ticket}")).await);
    keep(&alice.request("DELETE", "/api/auth/account", &[JSON], json!({ "password": password }).to_string()).await);
    keep(&alice.get("/api/auth/keys").await);
    keep(&alice.get("/api/auth/me").await);
    for path in ["/health", "/ready", "/metrics", "/api/orders", "/api/stats", &format!("/api/orders/{id}/events")] {
        keep(&alice.get(path).await);
    }
    postgres.cut_connections();
    keep(&alice.submit(json!({})).await);
    keep(&alice.post("/api/auth/logout", &json!({})).await);
    keep(&alice.get("/api/orders").await);
    answers.push(run(&mut server.command(&["config"])).printed());
    assert!(server.terminate().success());

    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(" TRACE ") && log.contains(&id), "the log has every level");
    let more = [("the token", token.as_str()), ("the API key", &key), ("the ticket", &ticket)];
    let mut found = Vec::new();
    for (what, text) in SECRETS.into_iter().chain(more) {
        let lines = log.lines().chain(answers.iter().map(String::as_str)).filter(|line| line.contains(text));
        found.extend(lines.map(|line| (what, line)));
    }
    println!(
        "{} log lines and {} answers searched for {} secrets: {} found",
        log.lines().count(),
        answers.len(),
        SECRETS.len() + more.len(),
        found.len()
    );
    assert!(found.is_empty(), "{found:?}");
}

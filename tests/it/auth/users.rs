//! Users: accounts, tokens, API keys and tickets, and what nobody gets in with.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, PASSWORD, at_once, order};
use crate::support::crowd::full;
use crate::support::databases::Postgres;
use crate::support::machine::FakeClock;
use crate::support::process::{PATIENCE, SWIFT, Server};

/// A server on which everybody has to say who they are.
/// Seconds.
const DAY: i64 = 86_400;

fn guarded<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Server {
    Server::start(SWIFT.into_iter().chain([("auth.required", "true")]).chain(settings))
}

fn login(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{answer:?}");
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
}

#[actix::test]
async fn one_post_makes_the_account_and_the_next_logs_in() {
    let server = guarded([]);
    let made = server.client.post("/api/auth", &login("Alice", PASSWORD)).await;
    assert_eq!((made.status, &made.body["success"], &made.body["username"]), (201, &json!(true), &json!("Alice")));
    assert_eq!(made.header("cache-control"), Some("no-store"));
    for path in ["/api/auth", "/api/auth/login"] {
        let again = server.client.post(path, &login("aLICE", PASSWORD)).await;
        assert_eq!((again.status, &again.body["userId"]), (200, &made.body["userId"]));
        assert_eq!(again.body["username"], "Alice");
        let alice = server.client.with(again.body["token"].as_str().unwrap());
        let me = alice.get("/api/auth/me").await;
        assert_eq!((&me.body["userId"], &me.body["expiresAt"]), (&made.body["userId"], &again.body["expiresAt"]));
        assert_problem(
            &server.client.post(path, &login("alice", "correct house battery")).await,
            401,
            "invalid_credentials",
        );
    }
    assert_problem(&server.client.post("/api/auth/register", &login("ALICE", PASSWORD)).await, 409, "username_taken");
    assert_problem(&server.client.get("/api/auth/me").await, 401, "unauthenticated");
}

#[actix::test]
async fn accounts_keys_and_what_was_revoked_survive_a_kill() {
    let mut server = guarded([]);
    let alice = server.client.registered("alice").await;
    let gone = server.client.post("/api/auth/login", &login("alice", PASSWORD)).await.body;
    let gone = server.client.with(gone["token"].as_str().unwrap());
    assert_eq!(gone.post("/api/auth/logout", &json!({})).await.status, 200);
    let key = async |name: &str| alice.post("/api/auth/keys", &json!({ "name": name })).await.body;
    let (kept, revoked) = (key("kept").await, key("revoked").await);
    let path = format!("/api/auth/keys/{}", revoked["id"].as_str().unwrap());
    assert_eq!(alice.send("DELETE", &path, &[], String::new()).await.unwrap().status, 200);
    for _ in 0..2 {
        let with = |bearer: &Value| server.client.with(bearer.as_str().unwrap());
        assert_eq!(server.client.with(alice.bearer()).get("/api/auth/me").await.status, 200);
        assert_eq!(with(&kept["key"]).get("/api/orders").await.status, 200);
        assert_problem(&server.client.with(gone.bearer()).get("/api/orders").await, 401, "invalid_token");
        assert_problem(&with(&revoked["key"]).get("/api/orders").await, 401, "invalid_token");
        server.kill();
        server.restart();
    }
}

#[actix::test]
async fn a_logout_closes_the_sockets_that_were_opened_with_it_and_no_others() {
    let server = guarded([("orders.rate_limit_per_minute", "1")]);
    let alice = server.client.registered("alice").await;
    let other = server.client.post("/api/auth/login", &login("alice", PASSWORD)).await.body;
    let other = server.client.with(other["token"].as_str().unwrap());
    // The second waits for its turn, so it is open as long as this test lasts.
    alice.submit(json!({})).await;
    let id = alice.submit(json!({})).await.order_id();
    let path = format!("/ws/orders/{id}");
    let ticket = alice.post("/api/auth/ticket", &json!({})).await.body["ticket"].as_str().unwrap().to_owned();
    let unused = alice.post("/api/auth/ticket", &json!({})).await.body["ticket"].as_str().unwrap().to_owned();
    let mut closing = vec![
        alice.socket(&path).await,
        server.client.socket_with(&path, &["bearer", alice.bearer()]).await.unwrap(),
        server.client.socket(&format!("{path}?ticket={ticket}")).await,
    ];
    let mut staying = other.socket(&path).await;
    for socket in closing.iter_mut().chain([&mut staying]) {
        assert_eq!(socket.next().await.unwrap()["type"], "order:snapshot");
    }
    assert_eq!(closing[1].protocol.as_deref(), Some("bearer"), "the token is not sent back");
    assert_eq!(alice.post("/api/auth/logout", &json!({})).await.status, 200);
    for mut socket in closing {
        assert_eq!(socket.next().await, Err(Some(4401)));
    }
    assert!(server.client.try_socket(&format!("{path}?ticket={unused}")).await.is_err(), "its tickets go with it");
    assert!(alice.try_socket(&path).await.is_err());
    assert_eq!(other.post(&format!("/api/orders/{id}/cancel"), &json!({})).await.status, 200);
    assert_eq!(staying.next().await.unwrap()["status"], "cancelled");
    assert_eq!(staying.next().await, Err(Some(1000)));
}

#[actix::test]
async fn a_socket_does_not_outlive_its_token() {
    let server = guarded([("orders.rate_limit_per_minute", "1"), ("auth.token_ttl_ms", "6000")]);
    let alice = server.client.registered("alice").await;
    alice.submit(json!({})).await;
    let id = alice.submit(json!({})).await.order_id();
    let mut socket = alice.socket(&format!("/ws/orders/{id}")).await;
    assert_eq!(socket.next().await.unwrap()["type"], "order:snapshot");
    assert_eq!(socket.next().await, Err(Some(4401)));
    assert_problem(&alice.get("/api/orders").await, 401, "invalid_token");
}

#[actix::test]
async fn a_key_may_do_what_its_scopes_say_and_never_manage_the_account() {
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let key = async |scopes: Value| {
        let made = alice.post("/api/auth/keys", &json!({ "name": "bot", "scopes": scopes })).await;
        assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")));
        server.client.with(made.body["key"].as_str().unwrap())
    };
    let (reads, trades) = (key(json!(["read"])).await, key(json!(["trade"])).await);
    let id = trades.submit(json!({})).await.order_id();
    let order = format!("/api/orders/{id}");
    for path in [&order, &format!("{order}/events"), "/api/orders", "/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1"]
    {
        assert_eq!(reads.get(path).await.status, 200, "{path}");
        assert_problem(&trades.get(path).await, 403, "missing_scope");
    }
    assert!(reads.try_socket(&format!("/ws/orders/{id}")).await.is_ok());
    assert!(trades.try_socket(&format!("/ws/orders/{id}")).await.is_err());
    assert_problem(&reads.submit(json!({})).await, 403, "missing_scope");
    assert_problem(&reads.post(&format!("{order}/cancel"), &json!({})).await, 403, "missing_scope");
    for key in [&reads, &trades] {
        assert_problem(&key.post("/api/auth/keys", &json!({ "name": "more" })).await, 403, "login_required");
        assert_problem(&key.get("/api/auth/keys").await, 403, "login_required");
        assert_problem(&key.post("/api/auth/logout", &json!({})).await, 403, "login_required");
        assert_eq!(key.get("/api/auth/me").await.body["username"], "alice");
    }
    let keys = alice.get("/api/auth/keys").await.body["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    assert!(keys[0]["key"].is_null() && reads.bearer().starts_with(keys[0]["prefix"].as_str().unwrap()), "{keys:?}");
    // A ticket can do no more than what it was had with.
    let ticket = trades.post("/api/auth/ticket", &json!({})).await.body["ticket"].as_str().unwrap().to_owned();
    assert!(server.client.try_socket(&format!("/ws/orders/{id}?ticket={ticket}")).await.is_err());
    // Another's key does not exist.
    let bob = server.client.registered("bob").await;
    let path = format!("/api/auth/keys/{}", keys[0]["id"].as_str().unwrap());
    assert_problem(&bob.send("DELETE", &path, &[], String::new()).await.unwrap(), 404, "key_not_found");
    assert_eq!(reads.get("/api/orders").await.status, 200);
}

#[actix::test]
async fn a_revoked_key_closes_its_sockets_also_if_an_earlier_revocation_had_no_answer() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let server = guarded([("orders.rate_limit_per_minute", "1"), ("database.url", url.as_str())]);
    let alice = server.client.registered("alice").await;
    alice.submit(json!({})).await;
    let id = alice.submit(json!({})).await.order_id();
    for lost_answer in [false, true] {
        let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.body;
        let bot = server.client.with(key["key"].as_str().unwrap());
        let mut socket = bot.socket(&format!("/ws/orders/{id}")).await;
        assert_eq!(socket.next().await.unwrap()["type"], "order:snapshot");
        if lost_answer {
            // What a write leaves behind that was given up and landed all the same.
            postgres.sql("UPDATE api_keys SET revoked_at = now()");
        }
        let path = format!("/api/auth/keys/{}", key["id"].as_str().unwrap());
        let revoke = async || alice.send("DELETE", &path, &[], String::new()).await.unwrap();
        assert_eq!(revoke().await.status, 200);
        assert_problem(&bot.get("/api/orders").await, 401, "invalid_token");
        assert_eq!(socket.next().await, Err(Some(4401)));
        assert_problem(&revoke().await, 404, "key_not_found");
    }
}

#[actix::test]
async fn a_crowd_that_logs_in_is_served_or_told_to_come_back_and_orders_go_on() {
    // An attempt counts until it has turned out well, so a crowd at once needs as many.
    let attempts = [("auth.attempts_per_name", "1000"), ("auth.attempts_per_address", "1000")];
    let server = guarded([("auth.hashes_at_once", "1")].into_iter().chain(attempts));
    let alice = server.client.registered("alice").await;
    let crowd = at_once(
        200,
        (0..200).map(|_| async { server.client.post("/api/auth/login", &login("alice", PASSWORD)).await }),
    );
    let (answers, order) = futures_util::future::join(crowd, alice.submit(json!({}))).await;
    assert_eq!(order.status, 201);
    for answer in &answers {
        let busy = answer.status == 503 && answer.body["code"] == "busy" && answer.header("retry-after").is_some();
        assert!(answer.status == 200 || busy, "{answer:?}");
    }
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert_eq!(server.client.post("/api/auth/login", &login("alice", PASSWORD)).await.status, 200, "nothing counts");
}

#[actix::test]
async fn what_is_asked_about_users_over_a_dead_line_keeps_no_connection_from_the_orders() {
    let postgres = Postgres::start();
    let line = postgres.line();
    let url = postgres.url_over(&line);
    let server = guarded([("database.url", url.as_str()), ("server.request_timeout_ms", "4000")]);
    let mut users = Vec::new();
    // More than there are connections for writing.
    for number in 0..8 {
        users.push(server.client.registered(&format!("user{number}")).await);
    }
    line.die();
    let log_out = async |user: &Client| user.post("/api/auth/logout", &json!({})).await;
    for answer in at_once(8, users.iter().map(&log_out)).await {
        assert_problem(&answer, 503, "unavailable");
    }
    line.revive();
    let looks = async {
        while users[0].submit(json!({})).await.status != 201 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.expect("orders are taken again");
    for answer in at_once(8, users.iter().map(&log_out)).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_problem(&users[0].get("/api/orders").await, 401, "invalid_token");
}

#[actix::test]
async fn a_ticket_opens_one_socket_and_nothing_else() {
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let id = alice.submit(json!({})).await.order_id();
    let ticket = alice.post("/api/auth/ticket", &json!({})).await.body["ticket"].as_str().unwrap().to_owned();
    assert_problem(&server.client.get(&format!("/api/orders/{id}?ticket={ticket}")).await, 401, "unauthenticated");
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("content-type", "application/json")];
    let submit = format!("/api/orders/execute?ticket={ticket}");
    let answer = server.client.send("POST", &submit, &upgrade, order(json!({})).to_string()).await.unwrap();
    assert_problem(&answer, 401, "unauthenticated");
    // Asking for a socket where there is none makes no other route take it.
    let routes =
        ["/api/orders", "/api/auth/keys", "/api/auth/me", "/api/tokens", "/api/stats", "/api/quotes", "/metrics"];
    for path in
        routes.map(str::to_owned).into_iter().chain([format!("/api/orders/{id}"), format!("/api/orders/{id}/events")])
    {
        let answer =
            server.client.send("GET", &format!("{path}?ticket={ticket}"), &upgrade, String::new()).await.unwrap();
        assert_problem(&answer, 401, "unauthenticated");
        let protocols = format!("bearer, {}", alice.bearer());
        let offered = [&upgrade[..], &[("sec-websocket-protocol", protocols.as_str())]].concat();
        assert_problem(
            &server.client.send("GET", &path, &offered, String::new()).await.unwrap(),
            401,
            "unauthenticated",
        );
    }
    let path = format!("/ws/orders/{id}?ticket={ticket}");
    server.client.socket(&path).await.until_closed().await.assert_gapless();
    assert!(server.client.try_socket(&path).await.is_err(), "it was good once");
    assert!(server.client.try_socket(&format!("/ws/orders/{id}?ticket=made-up")).await.is_err());
}

#[actix::test]
async fn a_credential_in_a_url_is_refused_even_if_it_is_right() {
    for server in [guarded([]), Server::start(SWIFT)] {
        let alice = server.client.registered("alice").await;
        for name in ["token", "access_token", "apiKey"] {
            let path = format!("/api/orders?{name}={}", alice.bearer());
            let answer = server.client.get(&path).await;
            assert_eq!((answer.status, &answer.body["code"]), (400, &json!("credential_in_url")));
            assert!(!answer.body.to_string().contains(alice.bearer()));
        }
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        let answer = server.client.send("GET", "/api/orders", &two, String::new()).await.unwrap();
        assert_problem(&answer, 401, "invalid_token");
    }
}

#[actix::test]
async fn whoever_brings_a_wrong_credential_is_refused_also_where_none_is_needed() {
    let server = Server::start(SWIFT);
    assert_eq!(server.client.get("/api/orders").await.status, 200);
    for authorization in ["Bearer nonsense", "Bearer", "Basic YWxpY2U6cGFzc3dvcmQ=", "oek_1234"] {
        let answer = server.client.send("GET", "/api/orders", &[("authorization", authorization)], String::new()).await;
        assert_problem(&answer.unwrap(), 401, "invalid_token");
    }
}

#[actix::test]
async fn whoever_fails_too_often_waits_and_the_right_password_does_not_help() {
    let server = guarded([("auth.attempts_per_name", "3"), ("auth.attempts_per_address", "8")]);
    let post = async |name: &str, password: &str| server.client.post("/api/auth/login", &login(name, password)).await;
    server.client.registered("alice").await;
    for _ in 0..5 {
        assert_eq!(post("alice", PASSWORD).await.status, 200, "good ones do not count");
    }
    for _ in 0..3 {
        assert_problem(&post("alice", "wrong password").await, 401, "invalid_credentials");
    }
    let refused = post("ALICE", PASSWORD).await;
    assert_problem(&refused, 429, "too_many_attempts");
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
    // One account, three failures and one refusal came from here already.
    for _ in 0..3 {
        assert_problem(&post("nobody", "wrong password").await, 401, "invalid_credentials");
    }
    assert_problem(&post("somebody", "wrong password").await, 429, "too_many_attempts");
    assert_problem(
        &server.client.post("/api/auth/register", &login("carol", PASSWORD)).await,
        429,
        "too_many_attempts",
    );
}

#[actix::test]
async fn where_registration_is_closed_an_unknown_name_is_told_what_a_wrong_password_is() {
    let mut server = guarded([]);
    server.client.registered("alice").await;
    server.kill();
    server.set("auth.registration", "closed");
    server.restart();
    for path in ["/api/auth", "/api/auth/login"] {
        for name in ["alice", "nobody"] {
            assert_problem(&server.client.post(path, &login(name, "wrong password")).await, 401, "invalid_credentials");
        }
        assert_eq!(server.client.post(path, &login("alice", PASSWORD)).await.status, 200);
    }
    assert_problem(
        &server.client.post("/api/auth/register", &login("bob", PASSWORD)).await,
        403,
        "registration_closed",
    );
}

#[actix::test]
async fn an_engine_that_strangers_could_reach_does_not_start_unless_it_asks_who_they_are() {
    let server = Server::idle(SWIFT);
    let serve = |arguments: &[&str], required: &str| {
        let mut command = server.command(arguments);
        command.env("HOST", "0.0.0.0").env("ORDER_ENGINE__AUTH__REQUIRED", required);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    for arguments in [&[][..], &["serve"]] {
        let refused = serve(arguments, "false").output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert!(said.contains("server.host") && said.contains("--insecure"), "{said}");
    }
    for (arguments, required) in [(&["serve", "--insecure"][..], "false"), (&["serve"], "true")] {
        let mut child = serve(arguments, required).spawn().unwrap();
        let mut greeting = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut greeting).unwrap();
        assert!(greeting.contains("http://0.0.0.0:"), "{greeting}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[actix::test]
async fn the_commands_of_a_client_speak_for_the_token_they_are_given() {
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let id = alice.submit(json!({})).await.order_id();
    let run = async |token: Option<&str>, arguments: &[&str]| {
        let mut command = server.command(arguments);
        command.env("ORDER_ENGINE_URL", server.client.url()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(token.map(|token| ("ORDER_ENGINE_TOKEN", token)));
        actix_web::rt::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let output = run(Some(alice.bearer()), &["watch", &id]).await;
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("confirmed"), "{output:?}");
    let output = run(Some(alice.bearer()), &["orders"]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains(&id), "{output:?}");
    let output = run(None, &["orders", "--token", alice.bearer()]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains(&id), "{output:?}");
    let output = run(None, &["orders"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("401 unauthenticated"), "{output:?}");
    let help = run(Some(alice.bearer()), &["orders", "--help"]).await;
    assert!(!String::from_utf8_lossy(&help.stdout).contains(alice.bearer()));
}

#[actix::test]
async fn a_secret_that_is_short_or_open_to_others_stops_the_start_by_its_key() {
    let mut server = Server::idle(SWIFT);
    let start = |server: &Server, name: &str, value: &str| {
        let output = server.command(&["serve"]).env(name, value).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = start(&server, "ORDER_ENGINE__AUTH__SECRET", "hunter2-is-too-short");
    assert!(code == Some(78) && said.contains("auth.secret: ") && !said.contains("hunter2"), "{said}");
    let file = server.file("short.secret");
    std::fs::write(&file, "hunter2-is-too-short").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (code, said) = start(&server, "ORDER_ENGINE__AUTH__SECRET_FILE", "short.secret");
    assert!(code == Some(78) && said.contains("auth.secret_file: ") && !said.contains("hunter2"), "{said}");
    server.restart();
    let mode = std::fs::metadata(server.file("order-engine.secret")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}

#[actix::test]
async fn a_known_and_an_unknown_name_get_the_same_answer() {
    let many = if full() { 300 } else { 3 };
    let server = guarded([("auth.attempts_per_name", "100000"), ("auth.attempts_per_address", "100000")]);
    server.client.registered("alice").await;
    let mut took = [Vec::new(), Vec::new()];
    let mut told = Vec::new();
    for _ in 0..many {
        for (name, took) in ["alice", "nobody"].into_iter().zip(&mut took) {
            let started = Instant::now();
            let answer = server.client.post("/api/auth/login", &login(name, "wrong password")).await;
            took.push(started.elapsed());
            assert_problem(&answer, 401, "invalid_credentials");
            let mut body = answer.body.clone();
            body.as_object_mut().unwrap().remove("requestId");
            let headers = answer.headers.into_iter().filter(|(name, _)| name != "x-request-id" && name != "date");
            told.push((body.to_string(), headers.collect::<BTreeSet<_>>()));
        }
    }
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:?}");
    // Told and not judged: a busy machine is no fault of the engine.
    let [known, unknown]: [Duration; 2] = took.map(|mut took| {
        took.sort();
        took[took.len() / 2]
    });
    println!(
        "{many} logins each, medians: known name {known:?}, unknown name {unknown:?}, apart {:?}",
        known.abs_diff(unknown)
    );
}

#[actix::test]
async fn no_secret_is_found_in_logs_or_answers_or_anything_that_is_printed() {
    const SECRETS: [(&str, &str); 4] = [
        ("the password", "canary-password-4f1c"),
        ("the signing secret", "canary-secret-9b02-canary-secret-9b02"),
        ("the database's password", "canary-database-77aa"),
        ("Redis's password", "canary-redis-c3d8"),
    ];
    let [password, secret, database, redis] = SECRETS.map(|(_, text)| text);
    let postgres = Postgres::start();
    let database_url = postgres.url().replacen('@', &format!(":{database}@"), 1);
    let mut server = Server::idle(SWIFT.into_iter().chain([
        ("auth.required", "true"),
        ("auth.secret", secret),
        ("database.url", database_url.as_str()),
        ("redis.url", &format!("redis://:{redis}@127.0.0.1:9")),
    ]));
    server.set("LOG_LEVEL", "trace");
    let log = server.file("log");
    let mut command = server.command(&["serve"]);
    command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
    let mut engine = command.spawn().unwrap();
    let mut greeting = String::new();
    let mut said = BufReader::new(engine.stdout.take().unwrap());
    said.read_line(&mut greeting).unwrap();
    let client = Client::of(&format!("http://{}", greeting.split("http://").nth(1).unwrap().trim()));

    // Each answer is searched too, but for the one that has to tell the secret.
    let mut answers = vec![greeting];
    let mut keep = |answer: &Answer| answers.push(format!("{answer:?}"));
    let made = client.post("/api/auth", &login("alice", password)).await;
    let token = made.body["token"].as_str().unwrap().to_owned();
    let alice = client.with(&token);
    let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await;
    let key = key.body["key"].as_str().unwrap().to_owned();
    let ticket = alice.post("/api/auth/ticket", &json!({})).await.body["ticket"].as_str().unwrap().to_owned();
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
        let headers = [("content-type", "application/json")];
        keep(&client.send("POST", "/api/auth/login", &headers, body).await.unwrap());
    }
    keep(&client.post("/api/auth/register", &login("alice", password)).await);
    keep(&client.post("/api/auth/login", &login("nobody", password)).await);
    keep(&client.with(&format!("{token}x")).get("/api/orders").await);
    keep(&client.with(&format!("{key}x")).get("/api/orders").await);
    keep(&client.get(&format!("/api/orders?token={token}")).await);
    keep(&client.get(&format!("/ws/orders/{id}?ticket={ticket}")).await);
    keep(&alice.get("/api/auth/keys").await);
    keep(&alice.get("/api/auth/me").await);
    for path in ["/health", "/ready", "/metrics", "/api/orders", "/api/stats", &format!("/api/orders/{id}/events")] {
        keep(&alice.get(path).await);
    }
    postgres.cut_connections();
    keep(&alice.submit(json!({})).await);
    keep(&alice.post("/api/auth/logout", &json!({})).await);
    keep(&alice.get("/api/orders").await);
    let config = server.command(&["config"]).output().unwrap();
    answers.push(format!("{config:?}"));
    assert!(std::process::Command::new("kill").arg(engine.id().to_string()).status().unwrap().success());
    assert!(engine.wait().unwrap().success());

    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(" TRACE ") && log.contains(&id), "everything is logged");
    let more = [("the token", token.as_str()), ("the API key", &key), ("the ticket", &ticket)];
    let mut found = Vec::new();
    for (what, text) in SECRETS.into_iter().chain(more) {
        let lines = log.lines().chain(answers.iter().map(String::as_str)).filter(|line| line.contains(text));
        found.extend(lines.map(|line| (what, line)));
    }
    println!(
        "{} lines of log and {} answers searched for {} secrets: {} hits",
        log.lines().count(),
        answers.len(),
        SECRETS.len() + more.len(),
        found.len()
    );
    assert!(found.is_empty(), "{found:?}");
}

#[actix::test]
async fn four_hundred_keys_at_once_are_no_more_than_fifty() {
    let postgres = Postgres::start();
    let url = postgres.url();
    for server in [guarded([]), guarded([("database.url", url.as_str())])] {
        let alice = server.client.registered("alice").await;
        let make = async || alice.post("/api/auth/keys", &json!({ "name": "bot" })).await;
        let made = at_once(100, (0..400).map(|_| make())).await;
        for answer in &made {
            let refused = (answer.status, answer.body["code"].as_str()) == (409, Some("too_many_keys"));
            assert!(answer.status == 201 || refused, "{answer:?}");
        }
        assert_eq!(made.iter().filter(|answer| answer.status == 201).count(), 50);
        let keys = alice.get("/api/auth/keys").await.body["keys"].as_array().unwrap().clone();
        assert_eq!(keys.len(), 50);
        let path = format!("/api/auth/keys/{}", keys[0]["id"].as_str().unwrap());
        assert_eq!(alice.send("DELETE", &path, &[], String::new()).await.unwrap().status, 200);
        let refill = at_once(10, (0..10).map(|_| make())).await;
        assert_eq!(refill.iter().filter(|answer| answer.status == 201).count(), 1);
    }
}

#[actix::test]
async fn of_many_registrations_of_one_name_at_once_one_makes_the_account() {
    let server = guarded([]);
    let names = ["alice", "ALICE", "Alice", "aLiCe"];
    let made = at_once(
        16,
        (0..16).map(|number| {
            let body = login(names[number % names.len()], PASSWORD);
            async { server.client.post("/api/auth/register", &{ body }).await }
        }),
    )
    .await;
    assert_eq!(made.iter().filter(|answer| answer.status == 201).count(), 1, "{made:?}");
    assert!(made.iter().all(|answer| [201, 409].contains(&answer.status)), "{made:?}");
}

#[actix::test]
async fn nothing_is_submitted_on_a_socket_after_its_token_has_expired() {
    // The watchdog of sockets looks only every few minutes, so a message meets the end of the token first.
    let settings = [("auth.token_ttl_ms", "4000"), ("ws.stall_timeout_ms", "6000000"), ("ws.heartbeat_ms", "60000")];
    let server = guarded(settings);
    let alice = server.client.registered("alice").await;
    let mut socket = alice.socket("/ws").await;
    let mut accepted = 0;
    let submits = async {
        loop {
            socket.say(&json!({ "type": "submit", "order": order(json!({})) })).await;
            match socket.next().await {
                Ok(told) if told["type"] == "order:submitted" => accepted += 1,
                Ok(told) => panic!("{told}"),
                Err(close) => return close,
            }
            // So that they are not too many for one page of the list below.
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    let close = tokio::time::timeout(Duration::from_secs(30), submits).await.expect("it ends with its token");
    assert_eq!(close, Some(4401));
    assert_problem(&alice.get("/api/orders").await, 401, "invalid_token");
    let again = server.client.post("/api/auth/login", &login("alice", PASSWORD)).await;
    let again = server.client.with(again.body["token"].as_str().unwrap());
    let orders = again.get("/api/orders?limit=200").await.body["orders"].as_array().unwrap().len();
    assert_eq!(orders, accepted.min(200));
}

#[actix::test]
async fn a_logged_out_token_stays_worthless_though_a_clock_ran_two_days_ahead() {
    let mut server = guarded([("auth.token_ttl_ms", "259200000")]);
    let alice = server.client.registered("alice").await;
    assert_eq!(alice.post("/api/auth/logout", &json!({})).await.status, 200);
    let token = alice.bearer().to_owned();
    server.terminate();
    let clock = FakeClock::new();
    server.use_clock(&clock);
    for ahead in [5, 400] {
        clock.set(ahead * DAY);
        server.restart();
        // What would have had revocations forgotten whose tokens have expired by now.
        let again = server.client.post("/api/auth/login", &login("alice", PASSWORD)).await;
        let again = server.client.with(again.body["token"].as_str().unwrap());
        assert_eq!(again.post("/api/auth/logout", &json!({})).await.status, 200, "{ahead} days");
        server.terminate();
        clock.set(0);
        server.restart();
        assert_problem(&server.client.with(&token).get("/api/orders").await, 401, "invalid_token");
        server.terminate();
    }
}

#[actix::test]
async fn a_clock_that_was_set_back_a_little_logs_nobody_out() {
    let mut server = guarded([]);
    let alice = server.client.registered("alice").await;
    let (token, clock) = (alice.bearer().to_owned(), FakeClock::new());
    server.use_clock(&clock);
    for (seconds, status) in [(-20, 200), (-120, 401)] {
        server.terminate();
        clock.set(seconds);
        server.restart();
        assert_eq!(server.client.with(&token).get("/api/auth/me").await.status, status, "{seconds} s");
    }
}

#[actix::test]
async fn a_step_of_the_clock_ends_no_socket_and_no_ticket_and_opens_no_throttle() {
    let mut server = guarded([("auth.attempts_per_name", "3")]);
    let clock = FakeClock::new();
    server.terminate();
    server.use_clock(&clock);
    server.restart();
    let (alice, _) = (server.client.registered("alice").await, server.client.registered("bob").await);
    let log_in = async || server.client.post("/api/auth/login", &login("bob", PASSWORD)).await;
    for _ in 0..3 {
        let answer = server.client.post("/api/auth/login", &login("bob", "wrong password")).await;
        assert_problem(&answer, 401, "invalid_credentials");
    }
    let mut socket = alice.socket("/ws").await;
    for seconds in [2 * DAY, -3_600, 0] {
        let ticket = alice.post("/api/auth/ticket", &json!({})).await.body["ticket"].as_str().unwrap().to_owned();
        clock.set(seconds);
        if seconds != 0 {
            let look = async {
                while alice.get("/api/auth/me").await.status != 401 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(PATIENCE, look).await.expect("the engine's clock has stepped");
        }
        assert_problem(&log_in().await, 429, "too_many_attempts");
        assert_eq!(socket.ask(json!({ "type": "ping" })).await["type"], "pong", "{seconds} s");
        let mut by_ticket = server.client.socket(&format!("/ws?ticket={ticket}")).await;
        assert_eq!(by_ticket.ask(json!({ "type": "ping" })).await["type"], "pong", "{seconds} s");
        clock.set(0);
        let look = async {
            while alice.get("/api/auth/me").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the engine's clock is right again");
    }
}

#[actix::test]
async fn correct_logins_from_one_address_leave_turns_for_others() {
    let settings =
        [("auth.hashes_at_once", "1"), ("auth.attempts_per_address", "10000"), ("auth.attempts_per_name", "1000")];
    let server = guarded(settings);
    let accounts: Vec<_> = (0..10).map(|number| format!("greedy{number}")).collect();
    for account in &accounts {
        server.client.registered(account).await;
    }
    server.client.registered("alice").await;
    let port = server.client.url().rsplit(':').next().unwrap();
    let alice = Client::of(&format!("http://127.0.0.1:{port}"));
    let done = std::cell::Cell::new(false);
    let greedy = at_once(
        200,
        (0..200).map(|number| {
            let (client, done) = (&server.client, &done);
            let body = login(&accounts[number % accounts.len()], PASSWORD);
            async move {
                while !done.get() {
                    let answer = client.post("/api/auth/login", &body).await;
                    assert!([200, 503].contains(&answer.status), "{answer:?}");
                }
            }
        }),
    );
    let waits = async {
        for _ in 0..10 {
            assert_eq!(alice.post("/api/auth/login", &login("alice", PASSWORD)).await.status, 200);
        }
        done.set(true);
    };
    futures_util::future::join(greedy, waits).await;
}

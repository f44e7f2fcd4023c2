//! Accounts that the operator manages from the command line, beside a running engine.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{assert_problem, guarded, login, users};
use crate::support::client::{Client, PASSWORD};
use crate::support::os::{Finished, run};
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::until;

/// Runs `order-engine users`, which must succeed; what it printed.
async fn manage(server: &Server, arguments: &[&str], input: &str) -> String {
    let done = users(server, arguments, input).await;
    assert!(done.code == Some(0) && done.stderr.is_empty(), "{arguments:?}: {done:?}");
    done.stdout
}

/// Fails unless the command is refused with a message that contains this text.
async fn assert_refused(server: &Server, arguments: &[&str], input: &str, text: &str) {
    let done = users(server, arguments, input).await;
    assert!(done.code == Some(1) && done.stdout.is_empty() && done.stderr.contains(text), "{arguments:?}: {done:?}");
}

async fn until_refused(client: &Client) {
    until("the credential was refused", async || client.get("/api/auth/me").await.status == 401).await;
}

/// Engines with these settings, on SQLite and on PostgreSQL.
fn on_both<'a>(postgres: &'a str, settings: &'a [(&'a str, &'a str)]) -> [Server; 2] {
    [None, Some(("database.url", postgres))].map(|database| guarded(settings.iter().copied().chain(database)))
}

#[actix::test]
async fn users_are_added_while_registration_is_closed() {
    let postgres = Postgres::start();
    for server in on_both(&postgres.url(), &[("auth.registration", "closed")]) {
        let refused = server.client.post("/api/auth/register", &login("alice", PASSWORD)).await;
        assert_problem(&refused, 403, "registration_closed");
        let added = manage(&server, &["add", "Alice"], &format!("{PASSWORD}\n")).await;
        assert!(added.contains("Alice") && added.contains("read trade") && !added.contains(PASSWORD), "{added}");
        // The token of the first login is accepted, whether the engine had learnt of the account before or not.
        let alice = server.client.logged_in("alice").await;
        let id = alice.submit(json!({})).await.order_id();
        alice.until_confirmed(&id).await;
        assert_eq!(alice.get("/api/auth/me").await.body["scopes"], json!(["read", "trade"]));
        assert_refused(&server, &["add", "aLICE"], PASSWORD, "the name is taken").await;
        manage(&server, &["add", "desk", "--scope", "read", "--scope", "operate"], PASSWORD).await;
        let desk = server.client.logged_in("desk").await;
        assert_eq!(desk.get("/api/auth/me").await.body["scopes"], json!(["read", "operate"]));
        let list = manage(&server, &["list"], "").await;
        let names: Vec<_> = list.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(names, ["Alice", "desk"], "{list}");
        assert!(list.contains("active    read trade\n") && list.contains("active    read operate\n"), "{list}");
    }
}

#[actix::test]
async fn a_disabled_user_is_out_at_once_and_the_orders_go_on() {
    let postgres = Postgres::start();
    for mut server in on_both(
        &postgres.url(),
        &[("simulation.swap_latency_min_ms", "3000"), ("simulation.swap_latency_max_ms", "3000")],
    ) {
        let alice = server.client.registered("alice").await;
        let bob = server.client.registered("bob").await;
        let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.text("key").to_owned();
        let key = server.client.with(&key);
        let id = alice.submit(json!({})).await.order_id();
        let mut sockets = [alice.socket("/ws").await, key.socket("/ws").await];
        let mut staying = bob.socket("/ws").await;
        let disabled = manage(&server, &["disable", "ALICE"], "").await;
        assert!(disabled.contains("alice  disabled"), "{disabled}");
        for socket in &mut sockets {
            assert_eq!(socket.next().await, Err(Some(4401)));
        }
        let log_in = async |server: &Server, password: &str| {
            server.client.post("/api/auth/login", &login("alice", password)).await
        };
        for _ in 0..2 {
            for bearer in [alice.token(), key.token()] {
                assert_problem(&server.client.with(bearer).get("/api/orders").await, 401, "invalid_token");
            }
            assert_problem(&log_in(&server, PASSWORD).await, 403, "account_disabled");
            assert_problem(&log_in(&server, "wrong password").await, 401, "invalid_credentials");
            server.kill();
            server.restart();
        }
        assert_eq!(server.client.with(bob.token()).get("/api/orders").await.status, 200);
        assert!(staying.next().await.is_err(), "the engine was killed");
        manage(&server, &["enable", "alice"], "").await;
        let key = server.client.with(key.token());
        until("the key was accepted again", async || key.get("/api/orders").await.status == 200).await;
        assert_problem(&server.client.with(alice.token()).get("/api/orders").await, 401, "invalid_token");
        let alice = server.client.logged_in("alice").await;
        assert_eq!(alice.until_ended(&id).await["status"], "confirmed");
    }
}

#[actix::test]
async fn a_password_of_the_operator_ends_the_tokens_and_a_short_one_is_refused() {
    let postgres = Postgres::start();
    for server in on_both(&postgres.url(), &[]) {
        let alice = server.client.registered("alice").await;
        let mut socket = alice.socket("/ws").await;
        assert_refused(&server, &["passwd", "alice"], "short\n", "must have 8 to 256 bytes").await;
        assert_refused(&server, &["passwd", "unknown"], "incorrect horse battery\n", "there is no user unknown").await;
        manage(&server, &["passwd", "alice"], "incorrect horse battery\n").await;
        assert_eq!(socket.next().await, Err(Some(4401)));
        until_refused(&alice).await;
        let log_in = async |password: &str| server.client.post("/api/auth/login", &login("alice", password)).await;
        assert_problem(&log_in(PASSWORD).await, 401, "invalid_credentials");
        let login = log_in("incorrect horse battery").await;
        assert_eq!(server.client.with(login.text("token")).get("/api/orders").await.status, 200);
    }
}

#[actix::test]
async fn a_user_trades_only_when_granted() {
    let postgres = Postgres::start();
    for server in on_both(&postgres.url(), &[("auth.default_scopes", "read")]) {
        let alice = server.client.registered("alice").await;
        let make_key = async |scopes: Value| {
            let mut body = json!({ "name": "bot" });
            if !scopes.is_null() {
                body["scopes"] = scopes;
            }
            alice.post("/api/auth/keys", &body).await
        };
        assert_problem(&alice.submit(json!({})).await, 403, "missing_scope");
        assert_eq!(alice.get("/api/orders").await.status, 200);
        let refused = make_key(json!(["read", "trade"])).await;
        assert_problem(&refused, 403, "missing_scope");
        assert!(refused.text("detail").contains("trade"), "{refused:?}");
        let reads = server.client.with(make_key(Value::Null).await.text("key"));
        assert_eq!(reads.get("/api/auth/me").await.body["scopes"], json!(["read"]));

        let granted = manage(&server, &["grant", "alice", "trade"], "").await;
        assert!(granted.ends_with("active  read trade\n"), "{granted}");
        until("the token could trade", async || alice.submit(json!({})).await.status == 201).await;
        assert_problem(&reads.submit(json!({})).await, 403, "missing_scope");
        let trades = make_key(Value::Null).await;
        assert_eq!(trades.body["scopes"], json!(["read", "trade"]));
        let trades = server.client.with(trades.text("key"));
        assert_eq!(trades.submit(json!({})).await.status, 201);

        // What is taken away ends the sockets that could do it; the token and the key go on with less.
        let mut sockets = [alice.socket("/ws").await, trades.socket("/ws").await];
        let mut staying = reads.socket("/ws").await;
        manage(&server, &["revoke", "alice", "trade"], "").await;
        for socket in &mut sockets {
            assert_eq!(socket.next().await, Err(Some(4401)));
        }
        assert_eq!(staying.ask(json!({ "type": "ping" })).await["type"], "pong");
        for credential in [&alice, &trades] {
            assert_problem(&credential.submit(json!({})).await, 403, "missing_scope");
            assert_eq!(credential.get("/api/auth/me").await.body["scopes"], json!(["read"]));
            let mut socket = credential.socket("/ws").await;
            let submit =
                json!({ "type": "submit", "order": { "tokenIn": "SOL", "tokenOut": "USDC", "amountIn": "1" } });
            assert_eq!(socket.ask(submit).await["code"], "missing_scope");
        }
    }
}

#[actix::test]
async fn operate_is_granted_by_the_command_line_alone() {
    let refused =
        run(Server::stopped([("auth.default_scopes", "read,operate")]).command(&["config"]).stderr(Stdio::piped()));
    assert!(
        refused.code == Some(78) && refused.stderr.contains("auth.default_scopes: must not contain operate"),
        "{refused:?}"
    );
    let server = guarded([]);
    let alice = server.client.registered("alice").await;
    let make_key = async || alice.post("/api/auth/keys", &json!({ "name": "desk", "scopes": ["operate"] })).await;
    assert_problem(&make_key().await, 403, "missing_scope");
    assert_refused(&server, &["grant", "unknown", "operate"], "", "there is no user unknown").await;
    let wrong = users(&server, &["grant", "alice", "admin"], "").await;
    assert!(wrong.code == Some(2) && wrong.stderr.contains("expected read, trade or operate"), "{wrong:?}");
    manage(&server, &["grant", "alice", "operate"], "").await;
    let scopes = async |client: &Client| client.get("/api/auth/me").await.body["scopes"].clone();
    until("the token could operate", async || scopes(&alice).await == json!(["read", "trade", "operate"])).await;
    let key = server.client.with(make_key().await.text("key"));
    assert_eq!(scopes(&key).await, json!(["operate"]));
    manage(&server, &["revoke", "alice", "operate"], "").await;
    until("the key could do nothing", async || scopes(&key).await == json!([])).await;
}

#[actix::test]
async fn accounts_are_managed_beside_an_engine_that_writes_all_the_time() {
    let postgres = Postgres::start();
    for server in on_both(&postgres.url(), &[]) {
        let alice = server.client.registered("alice").await;
        let done = std::cell::Cell::new(false);
        let orders = async {
            let mut ids = Vec::new();
            while !done.get() {
                ids.extend(alice.submit_many(20).await);
            }
            ids
        };
        let manage = async {
            for number in 0..5 {
                manage(&server, &["add", &format!("user{number}")], PASSWORD).await;
                manage(&server, &["disable", &format!("user{number}")], "").await;
            }
            done.set(true);
        };
        let (ids, ()) = futures_util::future::join(orders, manage).await;
        println!("{} orders meanwhile", ids.len());
        alice.until_all_confirmed(&ids).await;
        let ready = alice.get("/ready").await;
        assert_eq!((ready.status, &ready.body["status"]), (200, &json!("ok")), "{ready:?}");
        assert_eq!(users(&server, &["list"], "").await.stdout.lines().count(), 6);
    }
}

#[actix::test]
async fn accounts_are_managed_also_without_an_engine_but_not_in_memory_or_before_a_schema() {
    let mut server = Server::stopped(SWIFT.into_iter().chain([("auth.required", "true")]));
    assert_refused(&server, &["list"], "", "order-engine migrate").await;
    assert!(!server.file("order-engine.db").exists());
    assert_eq!(run(server.command(&["migrate"]).stdout(Stdio::null())).code, Some(0));
    manage(&server, &["add", "alice"], PASSWORD).await;
    server.restart();
    assert_eq!(server.client.logged_in("alice").await.get("/api/orders").await.status, 200);
    let mut memory = server.command(&["users", "list"]);
    let refused = run(memory.env("ORDER_ENGINE__DATABASE__URL", "sqlite::memory:"));
    assert!(refused.code == Some(1) && refused.stderr.contains("in memory"), "{refused:?}");
}

#[actix::test]
async fn a_password_that_is_typed_is_asked_for_twice_and_not_shown() {
    let server = guarded([]);
    for (second, code) in [("another password", 1), (PASSWORD, 0)] {
        let command = server.command(&["users", "add", "alice"]);
        let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
        let line = words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        // `script` gives the command a terminal.
        let mut script = std::process::Command::new("script");
        script
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .current_dir(command.get_current_dir().unwrap());
        script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let typed = [PASSWORD, second];
        let output = actix_web::web::block(move || {
            let mut child = script.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let mut screen = std::io::BufReader::new(child.stdout.take().unwrap());
            let mut shown = String::new();
            for (prompt, text) in ["Password: ", "The same again: "].into_iter().zip(typed) {
                read_until(&mut screen, &mut shown, prompt);
                writeln!(stdin, "{text}").unwrap();
            }
            std::io::Read::read_to_string(&mut screen, &mut shown).unwrap();
            let mut finished = Finished::from(child.wait_with_output().unwrap());
            finished.stdout = shown;
            finished
        })
        .await
        .unwrap();
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(!output.printed().contains(PASSWORD) && !output.printed().contains("another"), "{output:?}");
    }
    assert_eq!(server.client.logged_in("alice").await.get("/api/orders").await.status, 200);
}

/// Reads a terminal until it shows a text.
fn read_until(screen: &mut impl std::io::Read, shown: &mut String, text: &str) {
    let mut byte = [0];
    while !shown.ends_with(text) {
        screen.read_exact(&mut byte).unwrap_or_else(|error| panic!("no {text:?} after {shown:?}: {error}"));
        shown.push(char::from(byte[0]));
    }
}

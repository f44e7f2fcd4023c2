//! The log of failed logins.

use serde_json::{Value, json};

use super::{guarded, login, users};
use crate::support::client::{JSON, PASSWORD};
use crate::support::process::{SWIFT, Server};

#[actix::test]
async fn each_failed_login_is_one_line_with_its_name_address_reason_and_request() {
    let mut server = Server::stopped(SWIFT.into_iter().chain([("auth.required", "true"), ("log.format", "json")]));
    let file = server.file("log");
    server.log_to(&file);
    server.restart();
    let alice = server.client.registered("alice").await;
    server.client.registered("bob").await;
    let disabled = users(&server, &["disable", "bob"], "").await;
    assert_eq!(disabled.code, Some(0), "{disabled:?}");
    let failures = [
        ("Alice", "wrong-password-1", "wrong_password"),
        ("unknown", "wrong-password-2", "unknown_name"),
        ("bob", PASSWORD, "disabled"),
    ];
    for (number, (name, password, _)) in failures.iter().enumerate() {
        let (id, body) = (format!("request-{number}"), login(name, password).to_string());
        let answer = server.client.request("POST", "/api/auth/login", &[JSON, ("x-request-id", &id)], body).await;
        assert!([401, 403].contains(&answer.status), "{answer:?}");
    }
    // A valid login, and a text that is no name and may be a password.
    server.client.logged_in("alice").await;
    let typed = login("my secret, typed in the wrong field", "wrong-password-3");
    assert_eq!(server.client.post("/api/auth/login", &typed).await.status, 400);
    let change = json!({ "oldPassword": "wrong-password-4", "newPassword": PASSWORD }).to_string();
    let headers = [JSON, ("x-request-id", "request-3")];
    assert_eq!(alice.request("POST", "/api/auth/password", &headers, change).await.status, 403);
    server.terminate();

    let log = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed: Vec<_> = lines.iter().filter(|line| line["message"] == "a login failed").collect();
    assert_eq!(failed.len(), failures.len(), "{failed:?}");
    for (number, (line, (name, _, reason))) in failed.iter().zip(failures).enumerate() {
        let expected = json!({ "username": name, "client": "127.0.0.1", "reason": reason, "level": "WARN",
                               "request_id": format!("request-{number}") });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&line[field], value, "{line}");
        }
    }
    let unconfirmed = lines.iter().find(|line| line["message"] == "a password was not confirmed").unwrap();
    assert_eq!((&unconfirmed["request_id"], &unconfirmed["client"]), (&json!("request-3"), &json!("127.0.0.1")));
    assert!(!log.contains("wrong-password") && !log.contains("typed in the wrong field") && !log.contains(PASSWORD));
}

#[actix::test]
async fn the_log_says_which_accounts_were_changed() {
    let mut server = guarded([]);
    server.terminate();
    server.set("LOG_LEVEL", "info");
    let file = server.file("log");
    server.log_to(&file);
    server.restart();
    let alice = server.client.registered("alice").await;
    let change = json!({ "oldPassword": PASSWORD, "newPassword": "incorrect horse battery" });
    let changed = alice.post("/api/auth/password", &change).await;
    let alice = server.client.with(changed.text("token"));
    let body = json!({ "password": "incorrect horse battery" }).to_string();
    assert_eq!(alice.request("DELETE", "/api/auth/account", &[JSON], body).await.status, 200);
    server.terminate();
    let log = std::fs::read_to_string(file).unwrap();
    for text in ["an account was created", "a password was changed", "an account was deleted"] {
        let line = log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in {log}"));
        assert!(line.contains(changed.text("userId")), "{line}");
    }
}

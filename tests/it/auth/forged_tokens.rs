//! Forged tokens: none is accepted.

use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

use crate::support::process::{SWIFT, Server};

const SECRET: &str = "the secret that this test knows and a forger does not";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.as_ref().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

fn hs256(secret: &[u8], message: &str) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

/// A token with that header and those claims, always signed by HMAC-SHA-256.
fn signed(header: &Value, claims: &Value, secret: &str) -> String {
    let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = base64(hs256(secret.as_bytes(), &message));
    format!("{message}.{signature}")
}

/// A value with one field set; `null` removes it.
fn with(value: &Value, field: &str, to: Value) -> Value {
    let mut value = value.clone();
    match to {
        Value::Null => drop(value.as_object_mut().unwrap().remove(field)),
        to => value[field] = to,
    }
    value
}

async fn is_accepted(server: &Server, token: &str) -> bool {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let by_header = match server.client.try_request("GET", "/api/orders", &headers, "").await {
        Ok(answer) => answer.status != 401,
        // The token has characters that no header can have.
        Err(_) => false,
    };
    let path = format!("/ws/orders/{}", uuid::Uuid::now_v7());
    let by_protocol = !token.contains(|c: char| c.is_whitespace() || c == ',')
        && server.client.socket_with(&path, &["bearer", token]).await.is_ok();
    by_header || by_protocol
}

#[actix::test]
async fn no_forged_token_is_accepted() {
    let guarded = |secret| Server::start(SWIFT.into_iter().chain([("auth.required", "true"), ("auth.secret", secret)]));
    let server = guarded(SECRET);
    let elsewhere = guarded("the secret of another server, just as long");
    let alice = server.client.registered("alice").await;
    let real = alice.token().to_owned();
    let user = alice.get("/api/auth/me").await.body["userId"].as_str().unwrap().to_owned();
    let now = chrono::Utc::now().timestamp();
    let header = json!({ "typ": "JWT", "alg": "HS256" });
    let claims = json!({
        "iss": "order-engine", "aud": "order-engine-api", "sub": user, "jti": uuid::Uuid::new_v4(),
        "iat": now, "nbf": now, "exp": now + 3600,
    });
    let [head, body, signature] = <[&str; 3]>::try_from(real.split('.').collect::<Vec<_>>()).unwrap();

    // A token that this test signs correctly is accepted, so each forged one is refused for its fault.
    assert!(is_accepted(&server, &real).await);
    assert!(is_accepted(&server, &signed(&header, &claims, SECRET)).await);

    let mut forged: Vec<(String, String)> = Vec::new();
    let mut forge = |what: &str, token: String| forged.push((what.to_owned(), token));
    // Algorithms that the sender chooses.
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = base64(with(&header, "alg", json!(alg)).to_string());
        forge(&format!("alg {alg:?}, unsigned"), format!("{header}.{body}."));
        forge(&format!("alg {alg:?}, with a valid signature"), format!("{header}.{body}.{signature}"));
    }
    for alg in ["HS384", "HS512", "RS256", "RS512", "ES256", "PS256", "EdDSA", "hs256"] {
        forge(&format!("{alg} in the header of an HMAC"), signed(&with(&header, "alg", json!(alg)), &claims, SECRET));
    }
    forge("no alg", signed(&with(&header, "alg", Value::Null), &claims, SECRET));
    forge("alg twice", {
        let message = format!("{}.{body}", base64(r#"{"typ":"JWT","alg":"none","alg":"HS256"}"#));
        format!("{message}.{}", base64(hs256(SECRET.as_bytes(), &message)))
    });
    let message =
        |alg: &str| format!("{}.{}", base64(with(&header, "alg", json!(alg)).to_string()), base64(claims.to_string()));
    forge("a valid HS384", {
        let mac = Hmac::<Sha384>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(message("HS384")).finalize();
        format!("{}.{}", message("HS384"), base64(mac.into_bytes()))
    });
    forge("a valid HS512", {
        let mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(message("HS512")).finalize();
        format!("{}.{}", message("HS512"), base64(mac.into_bytes()))
    });
    let forger = SigningKey::from_bytes(&[7; 32]);
    forge("a valid EdDSA signature with the forger's key", {
        format!("{}.{}", message("EdDSA"), base64(forger.sign(message("EdDSA").as_bytes()).to_bytes()))
    });
    forge("the forger's public key as an HMAC secret", {
        let message = message("HS256");
        format!("{message}.{}", base64(hs256(forger.verifying_key().as_bytes(), &message)))
    });
    let jwk = json!({ "kty": "oct", "k": base64(b"forged") });
    forge("the forger's key in the header", signed(&with(&header, "jwk", jwk), &claims, "forged"));
    forge(
        "the URL of the forger's key in the header",
        signed(&with(&header, "jku", json!("http://127.0.0.1:9/")), &claims, SECRET),
    );
    forge("a file as the key", signed(&with(&header, "kid", json!("../../dev/null")), &claims, ""));
    forge("a critical extension", signed(&with(&header, "crit", json!(["exp"])), &claims, SECRET));
    forge("another type", signed(&with(&header, "typ", json!("JWE")), &claims, SECRET));
    // Other secrets.
    for secret in ["", "secret", "the secret that this test knows and a forger does no", &SECRET.to_uppercase()] {
        forge(&format!("the secret {secret:?}"), signed(&header, &claims, secret));
    }
    forge("a token of another server", elsewhere.client.registered("alice").await.token().to_owned());
    // Invalid claims.
    for (field, to) in [
        ("exp", json!(now - 1)),
        ("exp", json!(now - 86_400)),
        ("exp", json!(-1)),
        ("exp", json!((now + 3600).to_string())),
        ("exp", json!(1e300)),
        ("nbf", json!(now + 3600)),
        ("iat", json!(now + 3600)),
        ("iss", json!("another-engine")),
        ("iss", json!(["order-engine"])),
        ("aud", json!("another-api")),
        ("aud", json!(["order-engine-api"])),
        ("aud", json!("")),
        ("sub", json!("alice")),
        ("sub", json!(1)),
        ("jti", json!("1")),
        ("admin", json!(true)),
        ("exp", Value::Null),
        ("nbf", Value::Null),
        ("iat", Value::Null),
        ("iss", Value::Null),
        ("aud", Value::Null),
        ("sub", Value::Null),
        ("jti", Value::Null),
    ] {
        forge(&format!("{field} = {to}"), signed(&header, &with(&claims, field, to), SECRET));
    }
    // Changes to a valid token.
    let other = signed(&header, &with(&claims, "sub", json!(uuid::Uuid::now_v7())), "forged");
    let parts: Vec<_> = other.split('.').collect();
    forge("another user's claims with a valid signature", format!("{head}.{}.{signature}", parts[1]));
    forge("a signature of another token", format!("{head}.{body}.{}", parts[2]));
    forge("no signature", format!("{head}.{body}."));
    forge("no third part", format!("{head}.{body}"));
    forge("a fourth part", format!("{real}.{signature}"));
    forge("cut short", real[..real.len() - 1].to_owned());
    forge("half of it", real[..real.len() / 2].to_owned());
    forge("padded", format!("{real}="));
    forge("padded inside", format!("{head}=.{body}.{signature}"));
    forge("one character more", format!("{real}A"));
    forge("a space inside", format!("{head}. {body}.{signature}"));
    forge("in upper case", real.to_uppercase());
    forge("reversed", real.chars().rev().collect());
    forge("twice", format!("{real},{real}"));
    forge("only dots", "..".to_owned());
    forge("empty", String::new());
    forge("huge", format!("{head}.{}.{signature}", "A".repeat(6_000)));
    let last = real.chars().last().unwrap();
    // The last digit of 32 bytes has two unused bits: a lenient decoder accepts four spellings.
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = digits.find(last).unwrap();
    for other in (digit & !3)..(digit | 3) + 1 {
        if other != digit {
            let spelled = &digits[other..=other];
            forge("another spelling of the same signature", format!("{}{spelled}", &real[..real.len() - 1]));
        }
    }
    // A token that was valid.
    let logged_out = server.client.logged_in("alice").await;
    assert_eq!(logged_out.post("/api/auth/logout", &json!({})).await.status, 200);
    forge("logged out", logged_out.token().to_owned());
    // Invalid API keys.
    let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.body;
    let text = key["key"].as_str().unwrap();
    forge("a key cut short", text[..text.len() - 1].to_owned());
    forge("a key's prefix", key["prefix"].as_str().unwrap().to_owned());
    forge("a key's id", key["id"].as_str().unwrap().to_owned());
    forge("a key's prefix in upper case", text.replace("oek_", "OEK_"));
    assert!(is_accepted(&server, text).await);
    alice.request("DELETE", &format!("/api/auth/keys/{}", key["id"].as_str().unwrap()), &[], "").await;
    forge("a revoked key", text.to_owned());

    let mut accepted = Vec::new();
    for (what, token) in &forged {
        if is_accepted(&server, token).await {
            accepted.push(what);
        }
    }
    println!("{} forged tokens, {} accepted", forged.len(), accepted.len());
    assert!(forged.len() >= 40 && accepted.is_empty(), "accepted: {accepted:?}");
    assert!(is_accepted(&server, &real).await);
}

//! A signer for the engine, in a process of its own: it alone has the key. It answers the protocol that
//! [Wallet](../docs/wallet.md#a-remote-signer) describes, for the wallet of a keypair file.
//!
//! Run it with `REMOTE_SIGNER_TOKEN=… cargo run --example remote_signer -- id.json 8900`. With the port 0 it takes a free
//! one. It prints the wallet and where it listens. A signer for real funds would also decide what it signs.

use std::path::Path;
use std::sync::Arc;

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{Data, Json, JsonConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine::signer::Signer;
use order_engine::solana::wallet::LocalWallet;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;

/// The longest message of a transaction with one signature.
const MAX_MESSAGE: usize = 1232 - 65;

struct Desk {
    wallet: LocalWallet,
    authorization: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SignRequest {
    public_key: String,
    message: String,
}

async fn sign(desk: Data<Desk>, http: HttpRequest, request: Json<SignRequest>) -> HttpResponse {
    let given = http.headers().get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    if !bool::from(given.ct_eq(desk.authorization.as_bytes())) {
        return HttpResponse::Unauthorized().json(json!({ "error": "the token is wrong" }));
    }
    if request.public_key != desk.wallet.public_key().to_string() {
        return HttpResponse::Forbidden().json(json!({ "error": "this signer has another wallet" }));
    }
    let Ok(message) = STANDARD.decode(&request.message) else {
        return HttpResponse::BadRequest().json(json!({ "error": "the message is not base64" }));
    };
    if message.len() > MAX_MESSAGE {
        return HttpResponse::Forbidden().json(json!({ "error": "the message is longer than a transaction" }));
    }
    match desk.wallet.sign(&message).await {
        Ok(signature) => HttpResponse::Ok().json(json!({ "signature": signature })),
        Err(error) => HttpResponse::ServiceUnavailable().json(json!({ "error": error.to_string() })),
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [keypair, port] = &arguments[..] else { return Err("usage: remote_signer KEYPAIR_FILE PORT".into()) };
    let token = std::env::var("REMOTE_SIGNER_TOKEN").map_err(|_| "REMOTE_SIGNER_TOKEN is not set")?;
    let wallet = LocalWallet::from_file(Path::new(keypair))?;
    let public_key = wallet.public_key();
    let desk = Data::from(Arc::new(Desk { wallet, authorization: format!("Bearer {token}") }));
    let app = move || {
        let limit = JsonConfig::default().limit(4096);
        App::new().app_data(desk.clone()).app_data(limit).route("/sign", web::post().to(sign))
    };
    let server = HttpServer::new(app).workers(1).bind(("127.0.0.1", port.parse()?))?;
    println!("{public_key} http://{}/sign", server.addrs()[0]);
    server.run().await?;
    Ok(())
}

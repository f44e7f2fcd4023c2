//! The knobs as JSON.

use local_chain::{Options, SOL};
use serde_json::{Value, json};

use crate::support::Local;

async fn put(local: &Local, path: &str, body: Value) -> u16 {
    let url = format!("{}/admin/{path}", local.chain.endpoint(0).url());
    awc::Client::new().put(url).send_json(&body).await.unwrap().status().as_u16()
}

async fn post(local: &Local, path: &str, body: Value) -> Value {
    let url = format!("{}/admin/{path}", local.chain.endpoint(0).url());
    let mut response = awc::Client::new().post(url).send_json(&body).await.unwrap();
    assert!(response.status().is_success(), "{path}");
    response.json().await.unwrap_or_default()
}

async fn state(local: &Local) -> Value {
    let url = format!("{}/admin/state", local.chain.endpoint(0).url());
    awc::Client::new().get(url).send().await.unwrap().json().await.unwrap()
}

#[actix_web::test]
async fn slots_are_stepped_and_stopped_by_request() {
    let local = Local::start_with(Options::default(), 1);
    assert_eq!(put(&local, "pace", json!({ "byHand": true })).await, 204);
    let before = state(&local).await;
    assert_eq!(state(&local).await["slot"], before["slot"]);
    post(&local, "step", json!({ "slots": 40 })).await;
    assert!(state(&local).await["slot"].as_u64().unwrap() >= before["slot"].as_u64().unwrap() + 39);
}

#[actix_web::test]
async fn faults_are_set_by_request_and_an_unknown_one_is_refused() {
    let local = Local::start();
    let faults = json!({ "refuse": { "next": 1 }, "refuseStatus": 502, "heights": "slotsInBlockHeight" });
    assert_eq!(put(&local, "faults", faults).await, 204);
    assert_eq!(local.chain.endpoint(0).faults().refuse_status, 502);
    assert_eq!(put(&local, "faults", json!({ "lagslots": 1 })).await, 400);
}

#[actix_web::test]
async fn the_state_lists_pools_and_what_landed_and_somebody_can_be_made_to_swap() {
    let local = Local::start();
    let pool = local.market.raydium.address.to_string();
    let body = json!({ "pool": pool, "mintIn": SOL.to_string(), "amountIn": 1_727_222_985_u64 });
    let signature = post(&local, "swap", body).await["signature"].take();
    post(&local, "step", json!({ "slots": 2 })).await;
    let state = state(&local).await;
    assert_eq!((&state["landed"][0]["signature"], &state["landed"][0]["err"]), (&signature, &Value::Null));
    assert_eq!(state["pools"][0]["amounts"], json!(["1001727222985", "149742008756"]));
}

#[actix_web::test]
async fn wallets_are_funded_by_request() {
    let local = Local::start();
    let wallet = local.market.raydium.address.to_string();
    let missing = json!({ "wallet": "nobody", "lamports": 1 });
    assert_eq!(put(&local, "lamports", missing).await, 400);
    let wallet_of_user = json!({ "wallet": wallet, "mint": SOL.to_string(), "amount": 5 });
    assert_eq!(put(&local, "tokens", wallet_of_user).await, 200);
}

//! What endpoints do wrong on request.

use std::time::{Duration, Instant};

use local_chain::Options;
use local_chain::faults::{Faults, Heights, History, Share};
use serde_json::{Value, json};

use crate::support::{Local, signature, wire};

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

#[actix_web::test]
async fn a_dropped_send_is_accepted_and_never_lands() {
    let local = Local::start();
    local.set_faults(Faults { drop_sends: Share::next(1), ..Faults::default() });
    let (transaction, _) = local.transfer(1_000_000);
    let signature = local.send(&transaction).await;
    local.step(20);
    assert_eq!(local.status(&signature).await, Value::Null);
    local.send(&transaction).await;
    local.step(2);
    assert_eq!(local.status(&signature).await["err"], Value::Null);
    assert_eq!(local.chain.chain().landed().len(), 1);
}

#[actix_web::test]
async fn a_share_of_the_sends_is_dropped_and_a_seed_repeats_it() {
    let landed = async |seed| {
        let local = Local::start();
        local.set_faults(Faults { drop_sends: Share::per_mille(500, seed), ..Faults::default() });
        let mut landed = Vec::new();
        for lamports in 0..24 {
            let (transaction, _) = local.transfer(1_000_000 + lamports);
            let signature = local.send(&transaction).await;
            local.step(2);
            landed.push(!local.status(&signature).await.is_null());
        }
        landed
    };
    let first = landed(1).await;
    assert_eq!(first, landed(1).await);
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
}

#[actix_web::test]
async fn landing_can_be_delayed() {
    let local = Local::start();
    local.set_faults(Faults { landing_delay_slots: 10, ..Faults::default() });
    let (transaction, _) = local.transfer(1_000_000);
    let signature = local.send(&transaction).await;
    local.step(10);
    assert_eq!(local.status(&signature).await, Value::Null);
    local.step(2);
    assert!(!local.status(&signature).await.is_null());
}

#[actix_web::test]
async fn the_next_requests_are_refused_with_429_and_say_when_to_come_back() {
    let local = Local::start();
    local.set_faults(Faults { refuse: Share::next(2), retry_after_seconds: 3, ..Faults::default() });
    let url = local.chain.endpoint(0).url();
    for _ in 0..2 {
        let body = request("getSlot", json!([]));
        let mut response = awc::Client::new().post(&url).send_json(&body).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers().get("retry-after").unwrap().as_bytes()),
            (429, &b"3".as_slice())
        );
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], 429);
    }
    assert!(local.result("getSlot", json!([])).await.is_u64());
}

#[actix_web::test]
async fn requests_can_be_refused_with_another_status() {
    let local = Local::start();
    local.set_faults(Faults { refuse: Share::next(1), refuse_status: 503, ..Faults::default() });
    let url = local.chain.endpoint(0).url();
    let response = awc::Client::new().post(&url).send_json(&request("getSlot", json!([]))).await.unwrap();
    assert_eq!(response.status(), 503);
}

#[actix_web::test]
async fn a_lost_answer_closes_the_connection_and_the_transaction_lands() {
    let local = Local::start();
    local.set_faults(Faults { lose_answers: Share::next(1), ..Faults::default() });
    let (transaction, _) = local.transfer(1_000_000);
    let options = json!({ "encoding": "base64", "skipPreflight": true });
    let body = request("sendTransaction", json!([wire(&transaction), options]));
    let lost = awc::Client::new().post(local.chain.endpoint(0).url()).send_json(&body).await;
    assert!(lost.is_err());
    local.step(2);
    assert_eq!(local.status(&signature(&transaction)).await["err"], Value::Null);
    assert_eq!(local.chain.chain().landed().len(), 1);
}

#[actix_web::test]
async fn a_lost_request_closes_the_connection_and_nothing_happens() {
    let local = Local::start();
    local.set_faults(Faults { lose_requests: Share::next(1), ..Faults::default() });
    let (transaction, _) = local.transfer(1_000_000);
    let options = json!({ "encoding": "base64", "skipPreflight": true });
    let body = request("sendTransaction", json!([wire(&transaction), options]));
    assert!(awc::Client::new().post(local.chain.endpoint(0).url()).send_json(&body).await.is_err());
    local.step(5);
    assert!(local.chain.chain().landed().is_empty());
}

#[actix_web::test]
async fn an_answer_can_take_its_time() {
    let local = Local::start();
    local.set_faults(Faults { latency_ms: 120, ..Faults::default() });
    let asked = Instant::now();
    local.result("getSlot", json!([])).await;
    assert!(asked.elapsed() >= Duration::from_millis(120));
}

#[actix_web::test]
async fn an_endpoint_that_is_behind_knows_neither_new_blocks_nor_new_transactions_nor_new_balances() {
    let local = Local::start_with(Options::by_hand(), 2);
    local.chain.endpoint(1).set_faults(Faults { lag_slots: 10, ..Faults::default() });
    let (transaction, to) = local.transfer(1_000_000);
    let signature = local.send(&transaction).await;
    local.step(5);
    let processed = json!({ "commitment": "processed" });
    let balance = async |endpoint| {
        let params = json!([to.to_string(), processed]);
        local.result_of(endpoint, "getBalance", params).await["value"].as_u64().unwrap()
    };
    let slot = async |endpoint| local.result_of(endpoint, "getSlot", json!([processed])).await.as_u64().unwrap();
    assert!(slot(0).await - slot(1).await >= 10);
    assert_eq!((balance(0).await, balance(1).await), (1_000_000, 0));
    assert_eq!(local.status_of(1, &signature).await, Value::Null);
    local.step(10);
    assert_eq!(balance(1).await, 1_000_000);
    assert!(!local.status_of(1, &signature).await.is_null());
}

#[actix_web::test]
async fn a_frozen_endpoint_stays_where_it_is() {
    let local = Local::start_with(Options::by_hand(), 2);
    local.chain.endpoint(1).set_faults(Faults { frozen: true, ..Faults::default() });
    let (transaction, _) = local.transfer(1_000_000);
    let before = local.result_of(1, "getBlockHeight", json!([])).await;
    let signature = local.send(&transaction).await;
    local.step(300);
    assert_eq!(local.result_of(1, "getBlockHeight", json!([])).await, before);
    assert_eq!(local.status_of(1, &signature).await, Value::Null);
    local.chain.endpoint(1).set_faults(Faults::default());
    assert_eq!(local.status_of(1, &signature).await["confirmationStatus"], "finalized");
}

#[actix_web::test]
async fn an_endpoint_can_answer_slots_for_heights() {
    let local = Local::start_with(Options::by_hand(), 2);
    let truth = local.result_of(0, "getEpochInfo", json!([])).await;
    let (slot, height) = (truth["absoluteSlot"].as_u64().unwrap(), truth["blockHeight"].as_u64().unwrap());
    for (heights, in_height, in_epoch, in_blockhash) in [
        (Heights::Truthful, height, height, height + 150),
        (Heights::SlotsInBlockHeight, slot, height, height + 150),
        (Heights::SlotsInEpochInfo, slot, slot, height + 150),
        (Heights::SlotsEverywhere, slot, slot, slot + 150),
    ] {
        local.chain.endpoint(1).set_faults(Faults { heights, ..Faults::default() });
        assert_eq!(local.result_of(1, "getBlockHeight", json!([])).await, in_height, "{heights:?}");
        assert_eq!(local.result_of(1, "getEpochInfo", json!([])).await["blockHeight"], in_epoch, "{heights:?}");
        let latest = local.result_of(1, "getLatestBlockhash", json!([])).await;
        assert_eq!(latest["value"]["lastValidBlockHeight"], in_blockhash, "{heights:?}");
    }
}

#[actix_web::test]
async fn an_endpoint_can_forget_transactions_or_say_that_it_keeps_no_history() {
    let local = Local::start();
    let (transaction, _) = local.transfer(1_000_000);
    let signature = local.send(&transaction).await;
    local.step(40);
    local.set_faults(Faults { history: History::Forgotten, ..Faults::default() });
    assert_eq!(local.status(&signature).await, Value::Null);
    assert_eq!(local.result("getTransaction", json!([signature])).await, Value::Null);

    local.set_faults(Faults { history: History::Recent, ..Faults::default() });
    let search = json!([[signature], { "searchTransactionHistory": true }]);
    assert_eq!(local.error_code("getSignatureStatuses", search).await, -32011);
    assert_eq!(local.error_code("getTransaction", json!([signature])).await, -32011);
    let recent = local.result("getSignatureStatuses", json!([[signature]])).await;
    assert_eq!(recent["value"][0]["confirmationStatus"], "finalized");
}

#[actix_web::test]
async fn an_endpoint_can_belong_to_another_cluster_or_be_unhealthy() {
    let local = Local::start();
    let genesis_hash = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG";
    local.set_faults(Faults { genesis_hash: Some(genesis_hash.to_owned()), unhealthy: true, ..Faults::default() });
    assert_eq!(local.result("getGenesisHash", json!([])).await, genesis_hash);
    let error = local.answer("getHealth", json!([])).await["error"].take();
    assert_eq!((&error["code"], &error["data"]["numSlotsBehind"]), (&json!(-32005), &json!(200)));
    let (transaction, _) = local.transfer(1_000_000);
    let options = json!({ "encoding": "base64", "preflightCommitment": "processed" });
    assert_eq!(local.error_code("sendTransaction", json!([wire(&transaction), options])).await, -32005);
    local.send(&transaction).await;
}

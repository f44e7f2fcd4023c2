//! Slots, heights, blockhashes and what a node says of itself.

use std::time::Duration;

use local_chain::Options;
use serde_json::{Value, json};

use crate::support::{Local, until};

#[actix_web::test]
async fn by_the_clock_slots_pass_by_themselves() {
    let local = Local::start_with(Options { slot_time: Duration::from_millis(5), ..Options::default() }, 1);
    let slot = local.result("getSlot", json!([])).await.as_u64().unwrap();
    until(async || local.result("getSlot", json!([])).await.as_u64().unwrap() > slot + 20).await;
}

#[actix_web::test]
async fn by_hand_slots_pass_only_when_they_are_told_to() {
    let local = Local::start();
    let processed = json!([{ "commitment": "processed" }]);
    let slot = local.result("getSlot", processed.clone()).await.as_u64().unwrap();
    assert_eq!(local.result("getSlot", processed.clone()).await, slot);
    local.step(3);
    let after = local.result("getSlot", processed).await.as_u64().unwrap();
    assert!((slot + 2..=slot + 3).contains(&after), "{slot} {after}");
}

#[actix_web::test]
async fn a_blockhash_is_valid_until_its_last_valid_height_has_passed() {
    let local = Local::start();
    let latest = local.result("getLatestBlockhash", json!([{ "commitment": "confirmed" }])).await;
    let (blockhash, last) = (&latest["value"]["blockhash"], latest["value"]["lastValidBlockHeight"].as_u64().unwrap());
    let processed = json!({ "commitment": "processed" });
    loop {
        let height = local.result("getBlockHeight", json!([processed])).await.as_u64().unwrap();
        let valid = local.result("isBlockhashValid", json!([blockhash, processed])).await;
        assert_eq!(valid["value"], height <= last, "at {height}, last {last}");
        if height > last {
            break;
        }
        local.step(7);
    }
}

#[actix_web::test]
async fn the_height_of_the_epoch_agrees_with_the_window_of_the_latest_blockhash_and_is_not_the_slot() {
    let local = Local::start();
    let epoch = local.result("getEpochInfo", json!([])).await;
    let latest = local.result("getLatestBlockhash", json!([])).await;
    let (slot, height) = (epoch["absoluteSlot"].as_u64().unwrap(), epoch["blockHeight"].as_u64().unwrap());
    assert_eq!(latest["value"]["lastValidBlockHeight"], height + 150);
    assert_eq!(latest["context"]["slot"], slot);
    assert!(slot - height > 1_000_000);
    assert_eq!(epoch["epoch"].as_u64().unwrap() * 432_000 + epoch["slotIndex"].as_u64().unwrap(), slot);
}

#[actix_web::test]
async fn a_slot_without_a_block_has_no_time() {
    let local = Local::start();
    local.step(80);
    let slot = local.result("getSlot", json!([])).await.as_u64().unwrap();
    let skipped = slot / 20 * 20;
    assert_eq!(local.error_code("getBlockTime", json!([skipped])).await, -32007);
    assert!(local.result("getBlockTime", json!([skipped - 1])).await.as_u64().unwrap() > 1_700_000_000);
    assert_eq!(local.error_code("getBlockTime", json!([slot + 1_000])).await, -32004);
}

#[actix_web::test]
async fn a_commitment_is_some_slots_behind() {
    let local = Local::start();
    let mut slots = Vec::new();
    for commitment in ["processed", "confirmed", "finalized"] {
        slots.push(local.result("getSlot", json!([{ "commitment": commitment }])).await.as_u64().unwrap());
    }
    assert!(slots[0] > slots[1] && slots[1] > slots[2], "{slots:?}");
    assert_eq!(local.result("getSlot", json!([])).await, slots[2]);
}

#[actix_web::test]
async fn a_node_that_does_not_know_the_least_slot_yet_says_so() {
    let local = Local::start();
    let slot = local.result("getSlot", json!([])).await.as_u64().unwrap();
    let error = local.answer("getBlockHeight", json!([{ "minContextSlot": slot + 1 }])).await["error"].take();
    assert_eq!(error["code"], -32016);
    assert_eq!(error["data"]["contextSlot"], slot);
    local.result("getBlockHeight", json!([{ "minContextSlot": slot }])).await;
}

#[actix_web::test]
async fn a_node_says_who_it_is() {
    let local = Local::start();
    assert_eq!(local.result("getHealth", json!([])).await, "ok");
    assert!(local.result("getVersion", json!([])).await["solana-core"].is_string());
    assert_eq!(local.result("getGenesisHash", json!([])).await, "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d");
    assert!(local.result("getFirstAvailableBlock", json!([])).await.is_u64());
    assert_eq!(local.result("getMinimumBalanceForRentExemption", json!([165])).await, 1_488_440);
}

#[actix_web::test]
async fn the_recent_fees_are_those_that_were_set() {
    let local = Local::start();
    local.chain.chain().set_priority_fee(12_345);
    let fees = local.result("getRecentPrioritizationFees", json!([[]])).await;
    let fees = fees.as_array().unwrap();
    assert!(!fees.is_empty() && fees.iter().all(|fee| fee["prioritizationFee"] == 12_345 && fee["slot"].is_u64()));
}

#[actix_web::test]
async fn wrong_requests_get_the_codes_of_json_rpc() {
    let local = Local::start();
    assert_eq!(local.error_code("getNothing", json!([])).await, -32601);
    assert_eq!(local.error_code("getBalance", json!([])).await, -32602);
    assert_eq!(local.error_code("getBalance", json!(["no address"])).await, -32602);
    assert_eq!(local.error_code("getSlot", json!([{ "commitment": "max" }])).await, -32602);
    assert_eq!(local.error_code("getSlot", json!({})).await, -32602);
}

#[actix_web::test]
async fn a_batch_gets_one_answer_for_each_request() {
    let local = Local::start();
    let request = |id: u64, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let batch = json!([request(1, "getSlot"), request(2, "getBlockHeight")]);
    let mut response = awc::Client::new().post(local.chain.endpoint(0).url()).send_json(&batch).await.unwrap();
    let answers: Value = response.json().await.unwrap();
    assert_eq!((&answers[0]["id"], &answers[1]["id"]), (&json!(1), &json!(2)));
    assert!(answers[0]["result"].as_u64() > answers[1]["result"].as_u64());
}

#[actix_web::test]
async fn rolling_makes_every_older_blockhash_invalid_at_once() {
    let local = Local::start();
    let (transaction, _) = local.transfer(1_000_000);
    local.chain.chain().roll_blockhashes();
    local.send(&transaction).await;
    local.step(5);
    assert!(local.chain.chain().landed().is_empty());
    let (transaction, to) = local.transfer(1_000_000);
    local.send(&transaction).await;
    local.step(2);
    assert_eq!(local.lamports(&to).await, 1_000_000);
}

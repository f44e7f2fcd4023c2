//! What becomes of a transaction: queue, block, commitments, expiry.

use serde_json::{Value, json};
use solana_compute_budget_interface::ComputeBudgetInstruction;
use solana_signer::Signer;

use crate::support::{Local, signature, wire};

#[actix_web::test]
async fn a_sent_transaction_is_processed_then_confirmed_then_finalized() {
    let local = Local::start();
    let (transaction, to) = local.transfer(1_000_000);
    let signature = local.send(&transaction).await;
    assert_eq!(local.status(&signature).await, Value::Null);

    let mut seen = Vec::new();
    for _ in 0..40 {
        local.step(1);
        let status = local.status(&signature).await;
        if status.is_null() {
            continue;
        }
        assert_eq!((&status["err"], &status["status"]), (&Value::Null, &json!({ "Ok": null })));
        let name = status["confirmationStatus"].as_str().unwrap().to_owned();
        assert_eq!(status["confirmations"].is_null(), name == "finalized");
        seen.push(name);
    }
    seen.dedup();
    assert_eq!(seen, ["processed", "confirmed", "finalized"]);
    assert_eq!(local.lamports(&to).await, 1_000_000);
}

#[actix_web::test]
async fn the_same_bytes_land_once_however_often_they_are_sent() {
    let local = Local::start();
    let (transaction, to) = local.transfer(1_000_000);
    for _ in 0..3 {
        local.send(&transaction).await;
        local.send(&transaction).await;
        local.step(1);
    }
    assert_eq!(local.chain.chain().landed().len(), 1);
    assert_eq!(local.lamports(&to).await, 1_000_000);
}

#[actix_web::test]
async fn a_transaction_lands_while_its_blockhash_is_valid_and_never_after() {
    let local = Local::start();
    let (late, _) = local.transfer(1_000_000);
    let (expired, _) = local.transfer(2_000_000);
    let last = local.chain.chain().last_valid_height(late.message.recent_blockhash()).unwrap();
    let height = || local.chain.chain().block(local_chain::Commitment::Processed, u64::MAX).height;
    while height() + 1 < last {
        local.step(1);
    }
    local.send(&late).await;
    while height() < last {
        local.step(1);
    }
    assert_eq!(local.chain.chain().landed().len(), 1);
    local.send(&expired).await;
    local.step(100);
    assert_eq!(local.chain.chain().landed().len(), 1);
    assert_eq!(local.status(&signature(&expired)).await, Value::Null);
}

#[actix_web::test]
async fn a_failed_transaction_lands_and_costs_its_fee() {
    let local = Local::start();
    let before = local.lamports(&local.trader.pubkey()).await;
    let (transaction, _) = local.transfer(before * 2);
    let signature = local.send(&transaction).await;
    local.step(2);
    let status = local.status(&signature).await;
    assert_eq!(status["err"], json!({ "InstructionError": [0, { "Custom": 1 }] }));
    assert_eq!(local.lamports(&local.trader.pubkey()).await, before - 5_000);
}

#[actix_web::test]
async fn a_priority_fee_is_paid_for_the_whole_limit() {
    let local = Local::start();
    let instructions = [
        ComputeBudgetInstruction::set_compute_unit_limit(30_000),
        ComputeBudgetInstruction::set_compute_unit_price(1_001),
        solana_system_interface::instruction::transfer(&local.trader.pubkey(), &local.market.raydium.address, 1),
    ];
    let transaction = local.chain.chain().sign(&local.trader, &instructions);
    let signature = local.send(&transaction).await;
    local.step(40);
    let options = json!({ "encoding": "base64", "maxSupportedTransactionVersion": 1 });
    let found = local.result("getTransaction", json!([signature, options])).await;
    assert_eq!(found["meta"]["fee"], 5_000 + 31);
}

#[actix_web::test]
async fn preflight_refuses_what_would_fail_and_sends_nothing() {
    let local = Local::start();
    let balance = local.lamports(&local.trader.pubkey()).await;
    let (transaction, _) = local.transfer(balance * 2);
    let options = json!({ "encoding": "base64", "preflightCommitment": "processed" });
    let error = local.answer("sendTransaction", json!([wire(&transaction), options])).await["error"].take();
    assert_eq!(error["code"], -32002);
    assert_eq!(error["data"]["err"], json!({ "InstructionError": [0, { "Custom": 1 }] }));
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("Transaction simulation failed: Error processing Instruction 0"), "{message}");
    assert!(!error["data"]["logs"].as_array().unwrap().is_empty());
    local.step(3);
    assert!(local.chain.chain().landed().is_empty());
}

#[actix_web::test]
async fn preflight_knows_expired_and_landed_transactions_and_wrong_signatures() {
    let local = Local::start();
    let options = json!({ "encoding": "base64", "preflightCommitment": "processed" });
    let (transaction, _) = local.transfer(1_000_000);
    let mut forged = transaction.clone();
    forged.signatures[0] = solana_signature::Signature::from([7; 64]);
    assert_eq!(local.error_code("sendTransaction", json!([wire(&forged), options])).await, -32003);

    local.result("sendTransaction", json!([wire(&transaction), options])).await;
    local.step(2);
    let again = local.answer("sendTransaction", json!([wire(&transaction), options])).await;
    assert_eq!((&again["error"]["code"], &again["error"]["data"]["err"]), (&json!(-32002), &json!("AlreadyProcessed")));

    let (expired, _) = local.transfer(1_000_000);
    local.step(170);
    let late = local.answer("sendTransaction", json!([wire(&expired), options])).await;
    assert_eq!((&late["error"]["code"], &late["error"]["data"]["err"]), (&json!(-32002), &json!("BlockhashNotFound")));
}

#[actix_web::test]
async fn bytes_that_are_no_transaction_are_refused() {
    let local = Local::start();
    let options = json!({ "encoding": "base64" });
    for text in ["AAAA", "not base64!", &"A".repeat(4_000)] {
        assert_eq!(local.error_code("sendTransaction", json!([text, options])).await, -32602, "{text:.9}");
    }
}

#[actix_web::test]
async fn a_forged_transaction_sent_without_preflight_never_lands() {
    let local = Local::start();
    let (mut transaction, to) = local.transfer(1_000_000);
    transaction.signatures[0] = solana_signature::Signature::from([7; 64]);
    local.send(&transaction).await;
    local.step(3);
    assert_eq!(local.lamports(&to).await, 0);
}

#[actix_web::test]
async fn a_simulation_says_what_would_happen_and_changes_nothing() {
    let local = Local::start();
    let (transaction, to) = local.transfer(1_500_000);
    let options = json!({
        "encoding": "base64", "commitment": "processed", "sigVerify": true,
        "accounts": { "encoding": "base64", "addresses": [to.to_string()] },
    });
    let value = local.result("simulateTransaction", json!([wire(&transaction), options])).await["value"].take();
    assert_eq!(value["err"], Value::Null);
    assert_eq!(value["accounts"][0]["lamports"], 1_500_000);
    assert!(value["unitsConsumed"].as_u64().unwrap() > 0);
    local.step(2);
    assert_eq!(local.lamports(&to).await, 0);
}

#[actix_web::test]
async fn a_simulation_can_replace_an_expired_blockhash_but_then_verifies_no_signature() {
    let local = Local::start();
    let (transaction, _) = local.transfer(1_000_000);
    local.step(200);
    let simulate =
        async |options: Value| local.answer("simulateTransaction", json!([wire(&transaction), options])).await;
    let expired = simulate(json!({ "encoding": "base64" })).await;
    assert_eq!(expired["result"]["value"]["err"], "BlockhashNotFound");
    let replaced = simulate(json!({ "encoding": "base64", "replaceRecentBlockhash": true })).await;
    assert_eq!(replaced["result"]["value"]["err"], Value::Null);
    assert!(replaced["result"]["value"]["replacementBlockhash"]["lastValidBlockHeight"].is_u64());
    let both = simulate(json!({ "encoding": "base64", "replaceRecentBlockhash": true, "sigVerify": true })).await;
    assert_eq!(both["error"]["code"], -32602);
}

#[actix_web::test]
async fn a_transaction_is_found_once_its_block_is_confirmed() {
    let local = Local::start();
    let (transaction, _) = local.transfer(1_000_000);
    let signature = local.send(&transaction).await;
    local.step(1);
    let options = json!({ "encoding": "base64", "commitment": "confirmed", "maxSupportedTransactionVersion": 0 });
    let params = json!([signature, options]);
    let early = local.result("getTransaction", params.clone()).await;
    local.step(5);
    let found = local.result("getTransaction", params).await;
    assert_eq!(early, Value::Null);
    assert_eq!((&found["version"], &found["transaction"][0]), (&json!(0), &json!(wire(&transaction))));
    assert_eq!(found["meta"]["fee"], 5_000);
    let (before, after) = (&found["meta"]["preBalances"], &found["meta"]["postBalances"]);
    assert_eq!(before[0].as_u64().unwrap() - after[0].as_u64().unwrap(), 1_005_000);
    assert_eq!((before[1].as_u64(), after[1].as_u64()), (Some(0), Some(1_000_000)));

    let json = json!([signature, { "commitment": "confirmed", "maxSupportedTransactionVersion": 0 }]);
    let message = local.result("getTransaction", json).await["transaction"]["message"].take();
    assert_eq!(message["accountKeys"][0], local.trader.pubkey().to_string());
    let unprepared = json!([signature, { "encoding": "base64", "commitment": "confirmed" }]);
    assert_eq!(local.error_code("getTransaction", unprepared).await, -32015);
    let processed = json!([signature, { "commitment": "processed" }]);
    assert_eq!(local.error_code("getTransaction", processed).await, -32602);
}

#[actix_web::test]
async fn a_status_of_long_ago_needs_the_search_of_the_history() {
    let local = Local::start();
    let (transaction, _) = local.transfer(1_000_000);
    let signature = local.send(&transaction).await;
    local.step(400);
    let recent = local.result("getSignatureStatuses", json!([[signature]])).await;
    assert_eq!(recent["value"][0], Value::Null);
    assert_eq!(local.status(&signature).await["confirmationStatus"], "finalized");
}

#[actix_web::test]
async fn a_fork_undoes_a_processed_transaction_and_the_same_bytes_may_land_again() {
    let local = Local::start();
    let blockhash = local.chain.chain().block(local_chain::Commitment::Confirmed, u64::MAX).blockhash;
    let (mut transaction, to) = local.transfer(1_000_000);
    // With a blockhash from before the fork, which stays valid.
    transaction.message.set_recent_blockhash(blockhash);
    transaction =
        solana_transaction::versioned::VersionedTransaction::try_new(transaction.message, &[&local.trader]).unwrap();
    let signature = local.send(&transaction).await;
    local.step(2);
    assert_eq!(local.lamports(&to).await, 1_000_000);
    assert_eq!(local.chain.chain().roll_back(3), 1);
    assert_eq!(local.lamports(&to).await, 0);
    assert_eq!(local.status(&signature).await, Value::Null);
    local.send(&transaction).await;
    local.step(2);
    assert_eq!(local.lamports(&to).await, 1_000_000);
}

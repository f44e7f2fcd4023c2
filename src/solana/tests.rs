//! The chain over nodes in the hands of a test.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use solana_address::Address;
use solana_hash::Hash;
use solana_instruction::Instruction;

use super::chain::{ChainOptions, SolanaChain};
use super::firewall::{DecodedSwap, SwapReader};
use super::judge::{known_errors, slippage_errors};
use super::rpc::Commitment;
use super::signed;
use super::testing::{CLUSTER, TestNode};
use super::transaction::{FeeLimits, wire};
use crate::chain::Chain;
use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::retry::FailureCode;
use crate::domain::swap::{Fill, Outcome, Signature, SignedSwap, Swap};
use crate::domain::token::Mint;

const USDC: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
const PAYER: &str = "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9";
const POOL: &str = "CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C";
const LAST_VALID: u64 = 5_000_100;
const WAIT: Duration = Duration::from_secs(2);

/// No swap is known, so none is prepared here.
struct NoSwaps;

impl SwapReader for NoSwaps {
    fn read(&self, _: &Instruction, _: Address) -> Option<DecodedSwap> {
        None
    }
}

fn chain(nodes: &[&TestNode], landed_at: Commitment) -> Arc<SolanaChain> {
    let program = POOL.parse().unwrap();
    let options = ChainOptions {
        cluster: CLUSTER,
        endpoints: Vec::new(),
        senders: Vec::new(),
        landed_at,
        fee_limits: FeeLimits { min_price: 0, max_fee: 100_000 },
        known_errors: known_errors().into_iter().chain(slippage_errors(program, program)).collect(),
        call_timeout: Duration::from_secs(1),
        proof_interval: Duration::from_secs(10),
        status_interval: Duration::from_millis(400),
    };
    let named = || nodes.iter().enumerate().map(|(index, node)| (format!("node-{index}"), node.rpc())).collect();
    SolanaChain::over(named(), named(), options, Arc::new(NoSwaps))
}

fn swap(number: u16) -> SignedSwap {
    let mut signature = Signature([7; 64]);
    signature.0[..2].copy_from_slice(&number.to_be_bytes());
    let message = signed::tests::message(true, Hash::new_from_array([5; 32]));
    let swap = Swap {
        venue: VenueId::RAYDIUM,
        signature,
        last_valid_block_height: LAST_VALID,
        quoted_out: BaseUnits(100),
        min_amount_out: BaseUnits(99),
    };
    SignedSwap { swap, bytes: wire(&message, signature).into() }
}

async fn watch(chain: &SolanaChain, swap: &SignedSwap) -> Option<Outcome> {
    let token_out: Mint = USDC.parse().unwrap();
    chain.watch(swap, &token_out, WAIT).await.unwrap()
}

/// What a node answers for the transaction of a swap.
fn transaction(swap: &SignedSwap, err: Value, balances: bool) -> Value {
    let balance = |amount: u64| {
        json!([{
            "accountIndex": 1, "mint": USDC, "owner": PAYER, "programId": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
            "uiTokenAmount": { "amount": amount.to_string() },
        }])
    };
    let logs = [
        format!("Program {POOL} invoke [1]"),
        "Program log: AnchorError occurred. Error Code: ExceededSlippage. Error Number: 6005.".into(),
        format!("Program {POOL} failed: custom program error: 0x1775"),
    ];
    json!({
        "slot": 9_000_000,
        "meta": {
            "err": err, "fee": 5_000, "logMessages": logs,
            "preTokenBalances": balances.then(|| balance(1)), "postTokenBalances": balances.then(|| balance(101)),
        },
        "transaction": {
            "signatures": [swap.swap.signature.to_string()],
            "message": { "accountKeys": [PAYER, POOL], "instructions": [{ "programIdIndex": 1 }] },
        },
    })
}

fn lands(node: &TestNode, swap: &SignedSwap, commitment: &str) {
    node.lands(swap.swap.signature, Value::Null, commitment, transaction(swap, Value::Null, true));
}

fn fails(node: &TestNode, swap: &SignedSwap, commitment: &str) {
    let err = json!({ "InstructionError": [0, { "Custom": 6005 }] });
    node.lands(swap.swap.signature, err.clone(), commitment, transaction(swap, err, true));
}

/// The blockhash and the last valid block height of the swaps are over.
fn pass_last_valid_height(node: &TestNode) {
    node.advance(101);
    node.state().blockhash_valid = false;
}

fn landed() -> Option<Outcome> {
    Some(Outcome::Landed(Fill { amount_out: BaseUnits(100), slot: 9_000_000, fee: BaseUnits(5_000) }))
}

#[tokio::test(start_paused = true)]
async fn a_swap_has_landed_at_the_wanted_commitment_and_never_when_it_is_only_processed() {
    for (wanted, enough) in [(Commitment::Confirmed, "confirmed"), (Commitment::Finalized, "finalized")] {
        let (node, swap) = (TestNode::new(), swap(1));
        let chain = chain(&[&node], wanted);
        assert_eq!(watch(&chain, &swap).await, None);
        lands(&node, &swap, "processed");
        assert_eq!(watch(&chain, &swap).await, None);
        if wanted == Commitment::Finalized {
            lands(&node, &swap, "confirmed");
            assert_eq!(watch(&chain, &swap).await, None);
        }
        lands(&node, &swap, enough);
        assert_eq!(watch(&chain, &swap).await, landed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_landed_swap_whose_amounts_no_endpoint_says_is_undecided_until_one_does() {
    let (first, second, swap) = (TestNode::new(), TestNode::new(), swap(1));
    let chain = chain(&[&first, &second], Commitment::Confirmed);
    let unreadable = transaction(&swap, Value::Null, false);
    for node in [&first, &second] {
        node.lands(swap.swap.signature, Value::Null, "finalized", unreadable.clone());
    }
    pass_last_valid_height(&first);
    pass_last_valid_height(&second);
    assert_eq!(watch(&chain, &swap).await, None);
    lands(&second, &swap, "finalized");
    assert_eq!(watch(&chain, &swap).await, landed());
}

#[tokio::test(start_paused = true)]
async fn a_failed_swap_is_rejected_when_both_endpoints_say_that_the_failure_is_final() {
    let (first, second, swap) = (TestNode::new(), TestNode::new(), swap(1));
    let chain = chain(&[&first, &second], Commitment::Confirmed);
    fails(&first, &swap, "confirmed");
    fails(&second, &swap, "confirmed");
    assert_eq!(watch(&chain, &swap).await, None);
    fails(&first, &swap, "finalized");
    assert_eq!(watch(&chain, &swap).await, None);
    fails(&second, &swap, "finalized");
    let outcome = watch(&chain, &swap).await;
    let Some(Outcome::Rejected { failure, slot }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.code, slot), (FailureCode::SlippageExceeded, 9_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_swap_expires_when_both_endpoints_prove_it() {
    let (first, second, swap) = (TestNode::new(), TestNode::new(), swap(1));
    let chain = chain(&[&first, &second], Commitment::Confirmed);
    assert_eq!(watch(&chain, &swap).await, None);
    pass_last_valid_height(&first);
    // The second is behind, then its statuses are, then it does not answer, then it still knows the blockhash.
    assert_eq!(watch(&chain, &swap).await, None);
    pass_last_valid_height(&second);
    second.state().ahead = -1;
    assert_eq!(watch(&chain, &swap).await, None);
    second.state().ahead = 32;
    second.state().answers = false;
    assert_eq!(watch(&chain, &swap).await, None);
    second.state().answers = true;
    second.state().blockhash_valid = true;
    assert_eq!(watch(&chain, &swap).await, None);
    second.state().blockhash_valid = false;
    let outcome = watch(&chain, &swap).await;
    assert!(matches!(outcome, Some(Outcome::Expired(expiry)) if expiry.height == LAST_VALID + 1), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_begins_to_answer_slots_for_heights_expires_no_swap() {
    let (node, swap) = (TestNode::new(), swap(1));
    let chain = chain(&[&node], Commitment::Confirmed);
    assert_eq!(watch(&chain, &swap).await, None);
    node.state().answers_slots = true;
    node.state().blockhash_valid = false;
    for _ in 0..30 {
        node.advance(1);
        if let Ok(outcome) = chain.watch(&swap, &USDC.parse().unwrap(), WAIT).await {
            assert_eq!(outcome, None);
        }
    }
    assert!(chain.trouble().unwrap().contains("node-0"));
    node.state().answers_slots = false;
    lands(&node, &swap, "confirmed");
    // It proves itself again.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(watch(&chain, &swap).await, landed());
}

#[tokio::test(start_paused = true)]
async fn the_statuses_of_all_swaps_are_asked_for_together() {
    let node = TestNode::new();
    let chain = chain(&[&node], Commitment::Confirmed);
    let swaps: Vec<_> = (0..300).map(swap).collect();
    let (token_out, before_the_sixth_round): (Mint, _) = (USDC.parse().unwrap(), Duration::from_millis(1_900));
    let watched = swaps.iter().map(|swap| chain.watch(swap, &token_out, before_the_sixth_round));
    let outcomes = futures_util::future::join_all(watched).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(None)));
    // The first call is the one of the proof. 300 signatures take two calls.
    let state = node.state();
    let asked = state.calls.iter().filter(|(method, _)| method == "getSignatureStatuses").skip(1);
    let sizes: Vec<_> = asked.map(|(_, params)| params[0].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [256, 44].repeat(5));
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_chain_that_may_not_wait_still_gets_one_answer() {
    let (node, swap) = (TestNode::new(), swap(1));
    let chain = chain(&[&node], Commitment::Confirmed);
    lands(&node, &swap, "confirmed");
    let token_out: Mint = USDC.parse().unwrap();
    assert_eq!(chain.watch(&swap, &token_out, Duration::ZERO).await, Ok(landed()));
    node.state().answers = false;
    assert!(chain.watch(&swap, &token_out, Duration::ZERO).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_swap_is_sent_to_every_sender_with_the_same_bytes_and_one_answer_is_enough() {
    let (first, second, swap) = (TestNode::new(), TestNode::new(), swap(1));
    let chain = chain(&[&first, &second], Commitment::Confirmed);
    first.state().answers = false;
    chain.send(&swap.bytes).await.unwrap();
    second.state().answers = false;
    assert!(chain.send(&swap.bytes).await.is_err());
    assert_eq!((first.calls("sendTransaction"), second.calls("sendTransaction")), (2, 2));
    let sent = |node: &TestNode| {
        let calls = node.state().calls.clone();
        let sent = calls.into_iter().filter(|(method, _)| method == "sendTransaction");
        sent.map(|(_, params)| params[0].clone()).collect::<Vec<_>>()
    };
    let all: Vec<_> = sent(&first).into_iter().chain(sent(&second)).collect();
    assert!(all.iter().all(|bytes| *bytes == all[0]), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_the_recorded_swap_are_not_watched() {
    let node = TestNode::new();
    let chain = chain(&[&node], Commitment::Confirmed);
    let other = SignedSwap { bytes: swap(2).bytes, ..swap(1) };
    assert!(chain.watch(&other, &USDC.parse().unwrap(), WAIT).await.is_err());
}

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use solana_hash::Hash;

use super::*;
use crate::solana::testing::{CLUSTER, TestNode};

fn endpoints(nodes: &[&TestNode]) -> Arc<Endpoints> {
    let named = nodes.iter().enumerate().map(|(index, node)| (format!("node-{index}"), node.rpc()));
    Arc::new(Endpoints::new(CLUSTER, named.collect()))
}

fn admitted(endpoints: &Endpoints) -> Vec<String> {
    endpoints.admitted().iter().map(|endpoint| endpoint.name().to_owned()).collect()
}

fn refusal(endpoints: &Endpoints, index: usize) -> Refusal {
    endpoints.all()[index].standing().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_is_called_before_it_has_proved_itself() {
    let node = TestNode::new();
    let endpoints = endpoints(&[&node]);
    assert_eq!(endpoints.rpc().block_height(Commitment::Finalized).await, Err(RpcError::NoEndpoint));
    assert!(endpoints.trouble().unwrap().contains("node-0: it has not proved itself yet"));
    endpoints.prove().await;
    assert_eq!(endpoints.rpc().block_height(Commitment::Finalized).await, Ok(5_000_000));
    assert_eq!(endpoints.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_another_cluster_or_without_history_is_not_admitted_and_one_that_recovers_is() {
    let (foreign, forgetful, silent) = (TestNode::new(), TestNode::new(), TestNode::new());
    foreign.state().genesis = Hash::new_from_array([9; 32]);
    forgetful.state().keeps_history = false;
    silent.state().answers = false;
    let endpoints = endpoints(&[&foreign, &forgetful, &silent]);
    endpoints.prove().await;
    assert!(admitted(&endpoints).is_empty());
    assert!(matches!(refusal(&endpoints, 0), Refusal::OtherCluster(_)));
    assert_eq!(refusal(&endpoints, 1), Refusal::NoHistory);
    assert!(matches!(refusal(&endpoints, 2), Refusal::NoAnswer(_)));
    forgetful.state().keeps_history = true;
    silent.state().answers = true;
    endpoints.prove().await;
    assert_eq!(admitted(&endpoints), ["node-1", "node-2"]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_begins_to_answer_slots_for_heights_is_dropped_until_it_stops() {
    let node = TestNode::new();
    let endpoints = endpoints(&[&node]);
    endpoints.prove().await;
    node.advance(5);
    node.state().answers_slots = true;
    // At the first answer that is used, without waiting for the next proof.
    assert!(endpoints.all()[0].finalized().await.is_err());
    assert!(admitted(&endpoints).is_empty());
    // It lies consistently now, but not consistently with what it said before.
    endpoints.prove().await;
    assert_eq!(refusal(&endpoints, 0), Refusal::Contradiction);
    node.state().answers_slots = false;
    node.advance(5);
    endpoints.prove().await;
    assert_eq!(admitted(&endpoints), ["node-0"]);
    assert_eq!(endpoints.height(), Some(5_000_010));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_lags_or_stands_still_is_dropped() {
    let (fast, slow) = (TestNode::new(), TestNode::new());
    let endpoints = endpoints(&[&fast, &slow]);
    endpoints.prove().await;
    assert_eq!(admitted(&endpoints).len(), 2);
    fast.advance(MAX_LAG + 1);
    endpoints.prove().await;
    assert_eq!(refusal(&endpoints, 1), Refusal::Behind(MAX_LAG + 1));
    tokio::time::advance(MAX_STANDSTILL + Duration::from_secs(1)).await;
    endpoints.prove().await;
    assert!(matches!(refusal(&endpoints, 0), Refusal::Standstill(_)));
    fast.advance(1);
    endpoints.prove().await;
    assert_eq!(admitted(&endpoints), ["node-0"]);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_know_a_landed_swap_is_dropped() {
    let (honest, forgetful) = (TestNode::new(), TestNode::new());
    let endpoints = endpoints(&[&honest, &forgetful]);
    let signature = Signature([7; 64]);
    honest.lands(signature, Value::Null, "finalized", json!({}));
    endpoints.note_landed(signature, 9_000_000);
    endpoints.prove().await;
    assert_eq!(admitted(&endpoints), ["node-0"]);
    assert_eq!(refusal(&endpoints, 1), Refusal::NoHistory);
    // A swap in a block that is not final at an endpoint says nothing about its history.
    endpoints.note_landed(signature, 9_000_001);
    endpoints.prove().await;
    assert_eq!(admitted(&endpoints), ["node-0", "node-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_to_the_next_endpoint_if_one_does_not_answer() {
    let (first, second) = (TestNode::new(), TestNode::new());
    let endpoints = endpoints(&[&first, &second]);
    endpoints.prove().await;
    second.advance(1);
    first.state().answers = false;
    assert_eq!(endpoints.rpc().block_height(Commitment::Finalized).await, Ok(5_000_001));
    second.state().answers = false;
    let failed = endpoints.rpc().block_height(Commitment::Finalized).await;
    assert_eq!(failed, Err(RpcError::NoAnswer("it is switched off")));
}

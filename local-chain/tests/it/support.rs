//! A chain with the market, a trader, and a client.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use local_chain::faults::Faults;
use local_chain::{Chain, LocalChain, Market, Options, SOL, USDC};
use serde_json::{Value, json};
use solana_address::Address;
use solana_keypair::Keypair;
use solana_signer::Signer;
use solana_transaction::versioned::VersionedTransaction;

pub struct Local {
    pub chain: LocalChain,
    pub market: Market,
    pub trader: Keypair,
}

impl Local {
    /// Slots pass by hand; one endpoint.
    pub fn start() -> Self {
        Self::start_with(Options::by_hand(), 1)
    }

    pub fn start_with(options: Options, endpoints: usize) -> Self {
        let mut chain = Chain::new(options).unwrap();
        let market = chain.add_market();
        let trader = Keypair::new();
        chain.set_lamports(trader.pubkey(), 10_000_000_000);
        chain.set_tokens(&trader.pubkey(), &SOL, 100_000_000_000);
        chain.set_tokens(&trader.pubkey(), &USDC, 100_000_000_000);
        Self { chain: LocalChain::start(chain, endpoints).unwrap(), market, trader }
    }

    pub fn step(&self, slots: u64) {
        self.chain.chain().step(slots);
    }

    pub fn set_faults(&self, faults: Faults) {
        self.chain.endpoint(0).set_faults(faults);
    }

    /// A signed transfer to a new wallet.
    pub fn transfer(&self, lamports: u64) -> (VersionedTransaction, Address) {
        let to = Keypair::new().pubkey();
        let transfer = solana_system_interface::instruction::transfer(&self.trader.pubkey(), &to, lamports);
        (self.chain.chain().sign(&self.trader, &[transfer]), to)
    }

    /// The whole answer of the first endpoint.
    pub async fn answer(&self, method: &str, params: Value) -> Value {
        self.answer_of(0, method, params).await
    }

    pub async fn answer_of(&self, endpoint: usize, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let url = self.chain.endpoint(endpoint).url();
        let mut response = awc::Client::new().post(url).send_json(&body).await.unwrap();
        assert_eq!(response.status(), 200);
        let answer: Value = response.json().limit(1 << 22).await.unwrap();
        assert_eq!(answer["id"], 7);
        answer
    }

    /// The result of the first endpoint.
    pub async fn result(&self, method: &str, params: Value) -> Value {
        self.result_of(0, method, params).await
    }

    pub async fn result_of(&self, endpoint: usize, method: &str, params: Value) -> Value {
        let mut answer = self.answer_of(endpoint, method, params).await;
        assert_eq!(answer["error"], Value::Null, "{method}");
        answer["result"].take()
    }

    /// The code of the error of the first endpoint.
    pub async fn error_code(&self, method: &str, params: Value) -> Value {
        self.answer(method, params).await["error"]["code"].take()
    }

    /// Sends without preflight.
    pub async fn send(&self, transaction: &VersionedTransaction) -> String {
        let options = json!({ "encoding": "base64", "skipPreflight": true, "maxRetries": 0 });
        let signature = self.result("sendTransaction", json!([wire(transaction), options])).await;
        signature.as_str().unwrap().to_owned()
    }

    /// The status that the first endpoint answers, or null.
    pub async fn status(&self, signature: &str) -> Value {
        self.status_of(0, signature).await
    }

    pub async fn status_of(&self, endpoint: usize, signature: &str) -> Value {
        let params = json!([[signature], { "searchTransactionHistory": true }]);
        self.result_of(endpoint, "getSignatureStatuses", params).await["value"][0].take()
    }

    pub async fn lamports(&self, wallet: &Address) -> u64 {
        let params = json!([wallet.to_string(), { "commitment": "processed" }]);
        self.result("getBalance", params).await["value"].as_u64().unwrap()
    }
}

pub fn wire(transaction: &VersionedTransaction) -> String {
    BASE64.encode(wincode::serialize(transaction).unwrap())
}

pub fn signature(transaction: &VersionedTransaction) -> String {
    transaction.signatures[0].to_string()
}

/// Waits for a fact.
pub async fn until(fact: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fact().await {
        assert!(Instant::now() < deadline, "it did not become true");
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
}

//! Accounts and balances.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use local_chain::setup::{TransferFee, associated_account};
use local_chain::tokens::{TOKEN_2022_PROGRAM, TOKEN_PROGRAM};
use local_chain::{SOL, USDC, meteora_damm_v2, raydium_cpmm};
use serde_json::{Value, json};
use solana_keypair::Keypair;
use solana_signer::Signer;

use crate::support::Local;

fn data(account: &Value) -> Vec<u8> {
    BASE64.decode(account["data"][0].as_str().unwrap()).unwrap()
}

#[actix_web::test]
async fn several_accounts_come_from_one_slot_and_a_missing_one_is_null() {
    let local = Local::start();
    let pool = &local.market.raydium;
    let missing = Keypair::new().pubkey();
    let addresses: Vec<_> =
        [pool.address, pool.vaults[0], missing, pool.vaults[1]].iter().map(ToString::to_string).collect();
    let answer = local.result("getMultipleAccounts", json!([addresses, { "encoding": "base64" }])).await;
    assert!(answer["context"]["slot"].is_u64());
    let accounts = answer["value"].as_array().unwrap();
    assert_eq!(accounts[0]["owner"], raydium_cpmm::PROGRAM.to_string());
    assert_eq!(data(&accounts[0]).len(), 637);
    assert_eq!(accounts[1]["owner"], TOKEN_PROGRAM.to_string());
    assert_eq!(accounts[2], Value::Null);
    assert_eq!(data(&accounts[3])[64..72], 150_000_000_000_u64.to_le_bytes());
}

#[actix_web::test]
async fn a_pool_is_found_by_its_mints() {
    let local = Local::start();
    for (program, length, pool) in
        [(raydium_cpmm::PROGRAM, 637, &local.market.raydium), (meteora_damm_v2::PROGRAM, 1_112, &local.market.meteora)]
    {
        let find = async |first: String, length: usize| {
            let filters = json!([
                { "dataSize": length },
                { "memcmp": { "offset": 168, "bytes": first } },
                { "memcmp": { "offset": 200, "bytes": BASE64.encode(USDC.to_bytes()), "encoding": "base64" } },
            ]);
            let options = json!({ "encoding": "base64", "filters": filters });
            local.result("getProgramAccounts", json!([program.to_string(), options])).await
        };
        let found = find(SOL.to_string(), length).await;
        assert_eq!(found.as_array().unwrap().len(), 1);
        assert_eq!(found[0]["pubkey"], pool.address.to_string());
        assert_eq!(find(USDC.to_string(), length).await, json!([]));
        assert_eq!(find(SOL.to_string(), length + 1).await, json!([]));
    }
}

#[actix_web::test]
async fn a_token_account_has_a_balance_in_all_forms() {
    let local = Local::start();
    let account = associated_account(&local.trader.pubkey(), &USDC, &TOKEN_PROGRAM);
    local.chain.chain().set_tokens(&local.trader.pubkey(), &USDC, 1_250_000);
    let balance = local.result("getTokenAccountBalance", json!([account.to_string()])).await["value"].take();
    let expected = json!({ "amount": "1250000", "decimals": 6, "uiAmount": 1.25, "uiAmountString": "1.25" });
    assert_eq!(balance, expected);
    assert_eq!(local.error_code("getTokenAccountBalance", json!([USDC.to_string()])).await, -32602);
    let nobody = Keypair::new().pubkey().to_string();
    assert_eq!(local.error_code("getTokenAccountBalance", json!([nobody])).await, -32602);
}

#[actix_web::test]
async fn an_account_is_read_as_it_was_at_the_commitment() {
    let local = Local::start();
    let (transaction, to) = local.transfer(1_000_000);
    local.send(&transaction).await;
    let balance = async |commitment: &str| {
        let params = json!([to.to_string(), { "commitment": commitment }]);
        local.result("getBalance", params).await["value"].as_u64().unwrap()
    };
    local.step(2);
    assert_eq!((balance("processed").await, balance("finalized").await), (1_000_000, 0));
    local.step(6);
    assert_eq!((balance("confirmed").await, balance("finalized").await), (1_000_000, 0));
    local.step(40);
    assert_eq!(balance("finalized").await, 1_000_000);
}

#[actix_web::test]
async fn the_clock_has_the_slot_that_it_is_read_at_and_the_time_of_today() {
    let local = Local::start();
    let params = json!([["SysvarC1ock11111111111111111111111111111111"], { "encoding": "base64" }]);
    let answer = local.result("getMultipleAccounts", params).await;
    let clock = data(&answer["value"][0]);
    assert_eq!(clock.len(), 40);
    assert_eq!(u64::from_le_bytes(clock[..8].try_into().unwrap()), answer["context"]["slot"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let unix_time = u64::from_le_bytes(clock[32..40].try_into().unwrap());
    assert!(now.abs_diff(unix_time) < 600, "{now} {unix_time}");
}

#[actix_web::test]
async fn a_part_of_an_account_can_be_asked_for() {
    let local = Local::start();
    let address = local.market.meteora.address.to_string();
    let options = json!({ "encoding": "base64", "dataSlice": { "offset": 168, "length": 32 } });
    let account = local.result("getAccountInfo", json!([address, options])).await["value"].take();
    assert_eq!((data(&account), &account["space"]), (SOL.to_bytes().to_vec(), &json!(1_112)));
    assert_eq!(local.error_code("getAccountInfo", json!([address])).await, -32600);
}

#[actix_web::test]
async fn a_mint_can_take_a_fee_from_each_transfer() {
    let local = Local::start();
    let (mint, to) = (Keypair::new().pubkey(), Keypair::new().pubkey());
    let transaction = {
        let mut chain = local.chain.chain();
        chain.add_mint_with_transfer_fee(mint, 6, TransferFee { basis_points: 100, maximum: 5_000 });
        let from = chain.set_tokens(&local.trader.pubkey(), &mint, 1_000_000);
        let into = chain.set_tokens(&to, &mint, 0);
        let mut transfer = spl_token_interface::instruction::transfer_checked(
            &TOKEN_PROGRAM,
            &from,
            &mint,
            &into,
            &local.trader.pubkey(),
            &[],
            100_000,
            6,
        )
        .unwrap();
        transfer.program_id = TOKEN_2022_PROGRAM;
        chain.sign(&local.trader, &[transfer])
    };
    local.send(&transaction).await;
    local.step(2);
    let account = associated_account(&to, &mint, &TOKEN_2022_PROGRAM);
    assert_eq!(local.chain.chain().token_amount(&account), 99_000);
}

//! Swaps in both kinds of pool: with the stand-ins, and with the real programs if the environment names their files.

use local_chain::raydium_cpmm;
use local_chain::setup::{MeteoraDammV2Terms, RaydiumCpmmTerms, UserAccounts, associated_account};
use local_chain::tokens::TOKEN_PROGRAM;
use local_chain::{Chain, Landed, Options, Pool, Program, SOL, USDC};
use serde_json::json;
use solana_instruction::Instruction;
use solana_keypair::Keypair;
use solana_signer::Signer;
use solana_transaction_error::TransactionError;

use crate::support::Local;

/// The price and the liquidity of the worked numbers.
const WORKED: (u128, u128) = (7_144_393_258_922_745_856, 7_144_393_258_909_063_866_463_729_745_920);

const RESERVES: [(solana_address::Address, u64); 2] = [(SOL, 1_000_000_000_000), (USDC, 150_000_000_000)];

struct Bench {
    chain: Chain,
    trader: Keypair,
}

impl Bench {
    fn new(options: Options) -> Self {
        let mut chain = Chain::new(options).unwrap();
        chain.add_mint(SOL, 9);
        chain.add_mint(USDC, 6);
        let trader = Keypair::new_from_array([3; 32]);
        chain.set_lamports(trader.pubkey(), 10_000_000_000);
        chain.set_tokens(&trader.pubkey(), &SOL, 100_000_000_000);
        chain.set_tokens(&trader.pubkey(), &USDC, 100_000_000_000);
        Self { chain, trader }
    }

    fn account(&self, mint: &solana_address::Address) -> solana_address::Address {
        associated_account(&self.trader.pubkey(), mint, &TOKEN_PROGRAM)
    }

    fn instruction(&self, pool: &Pool, sells: &solana_address::Address, amount: u64, minimum: u64) -> Instruction {
        let buys = pool.other(sells);
        let user =
            UserAccounts { owner: self.trader.pubkey(), input: self.account(sells), output: self.account(&buys) };
        pool.swap(user, sells, amount, minimum)
    }

    fn execute(&mut self, instruction: Instruction) -> Landed {
        let transaction = self.chain.sign(&self.trader, &[instruction]);
        let signature = transaction.signatures[0];
        self.chain.send(transaction, 0);
        self.chain.step(2);
        self.chain.find(&signature).expect("it landed").clone()
    }

    /// What a swap pays.
    fn swap(&mut self, pool: &Pool, sells: &solana_address::Address, amount: u64) -> u64 {
        let account = self.account(&pool.other(sells));
        let before = self.chain.token_amount(&account);
        let landed = self.execute(self.instruction(pool, sells, amount, 0));
        assert_eq!(landed.error, None, "{:#?}", landed.meta.logs);
        self.chain.token_amount(&account) - before
    }

    fn swap_error(&mut self, instruction: Instruction) -> Option<TransactionError> {
        self.execute(instruction).error
    }
}

fn custom(code: u32) -> Option<TransactionError> {
    Some(TransactionError::InstructionError(0, solana_instruction::error::InstructionError::Custom(code)))
}

fn with_stand_ins() -> Bench {
    Bench::new(Options::by_hand())
}

/// The real program, if the environment names its file.
fn with_real_programs() -> Option<Bench> {
    let options = Options::by_hand().with_programs_of_environment().expect("the files can be read");
    if options.raydium_cpmm == Program::StandIn || options.meteora_damm_v2 == Program::StandIn {
        eprintln!("skipped: ORDER_ENGINE_RAYDIUM_CPMM_SO and ORDER_ENGINE_METEORA_DAMM_V2_SO name no programs");
        return None;
    }
    Some(Bench::new(options))
}

#[test]
fn raydium_pays_the_worked_amounts_and_books_its_fees() {
    for mut bench in [Some(with_stand_ins()), with_real_programs()].into_iter().flatten() {
        let pool = bench.chain.add_raydium_cpmm_pool(RESERVES, RaydiumCpmmTerms::default());
        assert_eq!(bench.swap(&pool, &SOL, 1_727_222_985), 257_991_244);
        let block = bench.chain.block(local_chain::Commitment::Processed, u64::MAX);
        let state = bench.chain.account(&pool.address, block).unwrap().data;
        assert_eq!(state[341..349], 518_166_u64.to_le_bytes());
        assert_eq!(state[357..365], 172_722_u64.to_le_bytes());
        assert_eq!(bench.swap(&pool, &USDC, 307_499_238), 2_047_735_093);
    }
}

#[test]
fn meteora_pays_the_worked_amounts() {
    for mut bench in [Some(with_stand_ins()), with_real_programs()].into_iter().flatten() {
        let terms = MeteoraDammV2Terms { sqrt_price_and_liquidity: Some(WORKED), ..MeteoraDammV2Terms::default() };
        let pool = bench.chain.add_meteora_damm_v2_pool(RESERVES, terms);
        assert_eq!(bench.swap(&pool, &USDC, 47_813_969), 317_861_571);
        assert_eq!(bench.swap(&pool, &USDC, 89_884_315), 596_992_189);
    }
}

#[test]
fn meteora_can_take_its_fee_from_the_input_and_sells_too() {
    for mut bench in [Some(with_stand_ins()), with_real_programs()].into_iter().flatten() {
        let terms = MeteoraDammV2Terms {
            sqrt_price_and_liquidity: Some(WORKED),
            fee_only_in_second: true,
            ..MeteoraDammV2Terms::default()
        };
        let pool = bench.chain.add_meteora_damm_v2_pool(RESERVES, terms);
        assert_eq!(bench.swap(&pool, &USDC, 224_912_494), 1_493_434_397);
    }
    for mut bench in [Some(with_stand_ins()), with_real_programs()].into_iter().flatten() {
        let terms = MeteoraDammV2Terms { sqrt_price_and_liquidity: Some(WORKED), ..MeteoraDammV2Terms::default() };
        let pool = bench.chain.add_meteora_damm_v2_pool(RESERVES, terms);
        assert_eq!(bench.swap(&pool, &SOL, 1_000_000_000), 149_475_523);
    }
}

#[test]
fn a_swap_below_its_minimum_fails_with_the_code_of_its_program_and_the_minimum_itself_is_enough() {
    for mut bench in [Some(with_stand_ins()), with_real_programs()].into_iter().flatten() {
        let raydium = bench.chain.add_raydium_cpmm_pool(RESERVES, RaydiumCpmmTerms::default());
        let terms = MeteoraDammV2Terms { sqrt_price_and_liquidity: Some(WORKED), ..MeteoraDammV2Terms::default() };
        let meteora = bench.chain.add_meteora_damm_v2_pool(RESERVES, terms);
        for (pool, code, sells, amount, pays) in
            [(raydium, 6_005, SOL, 1_727_222_985, 257_991_244), (meteora, 6_002, USDC, 47_813_969, 317_861_571)]
        {
            let failed = bench.execute(bench.instruction(&pool, &sells, amount, pays + 1));
            assert_eq!(failed.error, custom(code));
            let name = format!("Error Code: ExceededSlippage. Error Number: {code}.");
            assert!(failed.meta.logs.iter().any(|line| line.contains(&name)), "{:#?}", failed.meta.logs);
            assert_eq!(bench.swap_error(bench.instruction(&pool, &sells, amount, pays)), None);
        }
    }
}

/// Instructions that name something wrong, each with its description.
fn wrong_instructions(right: &Instruction) -> Vec<(String, Instruction)> {
    let mut wrong = Vec::new();
    for place in 0..right.accounts.len() {
        let mut foreign = right.clone();
        foreign.accounts[place].pubkey = solana_address::Address::new_from_array([9; 32]);
        // A signature of the foreign account would be missing.
        foreign.accounts[place].is_signer = false;
        wrong.push((format!("a foreign account {place}"), foreign));
        let mut missing = right.clone();
        missing.accounts.remove(place);
        wrong.push((format!("without account {place}"), missing));
        if right.accounts[place].is_writable {
            let mut read_only = right.clone();
            read_only.accounts[place].is_writable = false;
            wrong.push((format!("account {place} read-only"), read_only));
        }
        for other in place + 1..right.accounts.len() {
            let mut swapped = right.clone();
            swapped.accounts.swap(place, other);
            wrong.push((format!("accounts {place} and {other} swapped"), swapped));
        }
    }
    for length in [0, 7, 8, 20] {
        let mut short = right.clone();
        short.data.truncate(length);
        wrong.push((format!("{length} bytes of data"), short));
    }
    let mut zero = right.clone();
    zero.data[8..16].fill(0);
    wrong.push(("nothing is paid in".to_owned(), zero));
    let mut tiny = right.clone();
    tiny.data[8..16].copy_from_slice(&1_u64.to_le_bytes());
    wrong.push(("too little to buy anything".to_owned(), tiny));
    let mut rich = right.clone();
    rich.data[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    wrong.push(("more than the user has".to_owned(), rich));
    wrong
}

#[test]
fn raydium_refuses_wrong_accounts_and_amounts() {
    refuses(|bench| bench.chain.add_raydium_cpmm_pool(RESERVES, RaydiumCpmmTerms::default()));
}

#[test]
fn meteora_refuses_wrong_accounts_and_amounts() {
    refuses(|bench| bench.chain.add_meteora_damm_v2_pool(RESERVES, MeteoraDammV2Terms::default()));
}

/// The stand-in lets pass only what the real program lets pass, and moves the same tokens.
fn refuses(pool_of: impl Fn(&mut Bench) -> Pool) {
    let mut bench = with_stand_ins();
    let pool = pool_of(&mut bench);
    let mut real = with_real_programs();
    if let Some(real) = &mut real {
        assert_eq!(pool_of(real), pool);
    }
    let right = bench.instruction(&pool, &SOL, 1_000_000, 0);
    let (mut passed, mut differences) = (Vec::new(), Vec::new());
    for (what, wrong) in wrong_instructions(&right) {
        let error = bench.swap_error(wrong.clone());
        if error.is_none() {
            passed.push(what.clone());
        }
        let Some(real) = &mut real else { continue };
        let expected = real.swap_error(wrong);
        assert_eq!(error.is_none(), expected.is_none(), "{what}: {error:?}, the real program: {expected:?}");
        if error != expected {
            differences.push(format!("{what}: {error:?}, the real program: {expected:?}"));
        }
        for vault in pool.vaults {
            assert_eq!(bench.chain.token_amount(&vault), real.chain.token_amount(&vault), "{what}");
        }
    }
    eprintln!("passed: {passed:#?}\nother errors than the real program: {differences:#?}");
    assert!(passed.len() < 12, "{passed:#?}");
    assert_eq!(bench.swap_error(right), None);
}

#[test]
fn a_pool_that_is_not_open_yet_refuses() {
    for mut bench in [Some(with_stand_ins()), with_real_programs()].into_iter().flatten() {
        let later = 4_000_000_000;
        let terms = RaydiumCpmmTerms { open_time: later, ..RaydiumCpmmTerms::default() };
        let raydium = bench.chain.add_raydium_cpmm_pool(RESERVES, terms);
        let terms = MeteoraDammV2Terms { activation_time: later, ..MeteoraDammV2Terms::default() };
        let meteora = bench.chain.add_meteora_damm_v2_pool(RESERVES, terms);
        for (pool, code) in [(raydium, 6_000), (meteora, 6_003)] {
            assert_eq!(bench.swap_error(bench.instruction(&pool, &SOL, 1_000_000, 0)), custom(code));
        }
    }
}

#[test]
fn a_swap_of_somebody_else_moves_the_price() {
    let mut bench = with_stand_ins();
    let pool = bench.chain.add_raydium_cpmm_pool(RESERVES, RaydiumCpmmTerms::default());
    let quoted = 257_991_244;
    bench.chain.swap_as_somebody(&pool, &SOL, 50_000_000_000);
    let failed = bench.execute(bench.instruction(&pool, &SOL, 1_727_222_985, quoted));
    assert_eq!(failed.error, custom(6_005));
    assert!(bench.swap(&pool, &SOL, 1_727_222_985) < quoted);
}

#[test]
fn the_stand_ins_agree_with_the_real_programs_over_many_swaps() {
    let Some(mut real) = with_real_programs() else { return };
    let mut bench = with_stand_ins();
    let mut pools = Vec::new();
    for bench in [&mut bench, &mut real] {
        let terms = MeteoraDammV2Terms::default();
        pools = vec![
            bench.chain.add_raydium_cpmm_pool(RESERVES, RaydiumCpmmTerms::default()),
            bench.chain.add_meteora_damm_v2_pool(RESERVES, terms),
        ];
    }
    let mut amount = 1_234_567_u64;
    for round in 0..120_usize {
        amount = amount.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pool = &pools[round % 2];
        let sells = pool.mints[(amount >> 40) as usize % 2];
        let amount = amount >> 33;
        let pays = bench.swap(pool, &sells, amount);
        assert_eq!(pays, real.swap(pool, &sells, amount), "round {round}");
    }
    for pool in &pools {
        let state = |bench: &Bench| {
            let block = bench.chain.block(local_chain::Commitment::Processed, u64::MAX);
            bench.chain.account(&pool.address, block).unwrap().data
        };
        let (ours, theirs) = (state(&bench), state(&real));
        let differences: Vec<_> = (0..ours.len()).filter(|offset| ours[*offset] != theirs[*offset]).collect();
        // Meteora counts statistics and reserves that such swaps do not read.
        let unread = |offset: &usize| (568..648).contains(offset) || (680..697).contains(offset);
        let differences: Vec<_> = differences.into_iter().filter(|offset| !unread(offset)).collect();
        assert!(differences.is_empty(), "{:?} {differences:?}", pool.kind);
    }
}

#[actix_web::test]
async fn a_found_swap_shows_the_token_balances_before_and_after() {
    let local = Local::start();
    let pool = &local.market.raydium;
    let account = |mint| associated_account(&local.trader.pubkey(), mint, &TOKEN_PROGRAM);
    let user = UserAccounts { owner: local.trader.pubkey(), input: account(&SOL), output: account(&USDC) };
    let swap = pool.swap(user, &SOL, 1_727_222_985, 257_991_244);
    let transaction = local.chain.chain().sign(&local.trader, &[swap]);
    let signature = local.send(&transaction).await;
    local.step(40);
    let options = json!({ "encoding": "json", "maxSupportedTransactionVersion": 1 });
    let found = local.result("getTransaction", json!([signature, options])).await;
    let keys = found["transaction"]["message"]["accountKeys"].as_array().unwrap();
    let vault = keys.iter().position(|key| *key == pool.vaults[1].to_string()).unwrap();
    let amount = |balances: &serde_json::Value| {
        let balances = balances.as_array().unwrap();
        let balance = balances.iter().find(|balance| balance["accountIndex"] == vault).unwrap();
        assert_eq!(balance["mint"], USDC.to_string());
        balance["uiTokenAmount"]["amount"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let meta = &found["meta"];
    assert_eq!(amount(&meta["preTokenBalances"]) - amount(&meta["postTokenBalances"]), 257_991_244);
    let inner = meta["innerInstructions"][0]["instructions"].as_array().unwrap();
    assert_eq!(inner.len(), 2);
    let logs = meta["logMessages"].as_array().unwrap();
    assert!(logs.iter().any(|line| line.as_str().unwrap().starts_with("Program data: QMbN6CYIce")), "{logs:#?}");
    assert!(logs.iter().any(|line| *line == format!("Program {} success", raydium_cpmm::PROGRAM)));
}

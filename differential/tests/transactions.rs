//! The transactions of the engine, executed: they do what they say, and nothing of the wallet is left behind.

#![allow(clippy::unwrap_used, reason = "an unexpected result fails the test")]

use local_chain::setup::{UserAccounts, associated_account};
use local_chain::{Chain, Commitment, Options, Pool, PoolKind, SOL, USDC};
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::id::OrderId;
use order_engine::domain::swap::Signature;
use order_engine::signer::Signer;
use order_engine::solana::firewall::{DecodedSwap, Expected, SwapReader, inspect};
use order_engine::solana::transaction::{
    Budget, FeeLimits, Funds, Rents, Seed, SwapIntent, TokenMint, TokenProgram, budget, check_funds, compile, plan,
    wire,
};
use order_engine::solana::wallet::LocalWallet;
use solana_address::Address;
use solana_instruction::Instruction;
use solana_transaction::versioned::VersionedTransaction;
use uuid::Uuid;

const LIMITS: FeeLimits = FeeLimits { min_price: 1_000, max_fee: 20_000 };

/// The keypair of a wallet, as the Solana CLI writes it.
fn wallet() -> LocalWallet {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
    LocalWallet::from_text(&serde_json::to_string(&secret.to_keypair_bytes().to_vec()).unwrap()).unwrap()
}

fn address(wallet: &LocalWallet) -> Address {
    Address::new_from_array(wallet.public_key().to_bytes())
}

/// Reads the swaps of one pool: what it builds for the accounts and amounts of an instruction must be that instruction.
struct Of<'a>(&'a Pool);

impl SwapReader for Of<'_> {
    fn read(&self, instruction: &Instruction, mint_in: Address) -> Option<DecodedSwap> {
        let number = |at: usize| Some(u64::from_le_bytes(instruction.data.get(at..at + 8)?.try_into().ok()?));
        let account = |at: usize| instruction.accounts.get(at).map(|account| account.pubkey);
        let (amount_in, least) = (number(8)?, number(16)?);
        let places = if matches!(self.0.kind, PoolKind::MeteoraDammV2) { [8, 2, 3] } else { [0, 4, 5] };
        let [owner, input, output] = [account(places[0])?, account(places[1])?, account(places[2])?];
        let is_exact = self.0.swap(UserAccounts { owner, input, output }, &mint_in, amount_in, least) == *instruction;
        is_exact.then_some(DecodedSwap {
            user: owner,
            source: input,
            destination: output,
            mint_out: self.0.other(&mint_in),
            amount_in: BaseUnits(amount_in),
            min_amount_out: BaseUnits(least),
        })
    }
}

/// A chain whose slots pass by hand, a wallet with SOL, wrapped SOL and USDC, and a market.
struct Market {
    chain: Chain,
    wallet: LocalWallet,
    raydium: Pool,
    meteora: Pool,
    wrapped: Address,
    usdc: Address,
}

const LAMPORTS: u64 = 100_000_000_000;
const WRAPPED: u64 = 5_000_000_000;
const TOKENS: u64 = 10_000_000_000;

impl Market {
    fn new() -> Self {
        let mut chain = Chain::new(Options::by_hand()).unwrap();
        let market = chain.add_market();
        let wallet = wallet();
        chain.set_lamports(address(&wallet), LAMPORTS);
        let wrapped = chain.set_tokens(&address(&wallet), &SOL, WRAPPED);
        let usdc = associated_account(&address(&wallet), &USDC, &TokenProgram::Token.id());
        Self { chain, wallet, raydium: market.raydium, meteora: market.meteora, wrapped, usdc }
    }

    fn with_usdc(mut self) -> Self {
        self.usdc = self.chain.set_tokens(&address(&self.wallet), &USDC, TOKENS);
        self
    }

    fn token(&self, mint: Address) -> TokenMint {
        TokenMint { mint, program: TokenProgram::from_id(self.chain.token_program(&mint)).unwrap() }
    }

    fn intent(&self, [mint_in, mint_out]: [Address; 2], amount_in: u64, least: u64, order: u128) -> SwapIntent {
        SwapIntent {
            wallet: address(&self.wallet),
            token_in: self.token(mint_in),
            token_out: self.token(mint_out),
            amount_in: BaseUnits(amount_in),
            min_amount_out: BaseUnits(least),
            seed: Seed::of(OrderId(Uuid::from_u128(order)), 1),
            token_account_rent: self.chain.rent(165),
        }
    }

    /// Builds a swap as the engine does: simulates a draft, sets the budget, passes the firewall, and signs.
    async fn signed(&self, pool: &Pool, intent: &SwapIntent) -> (VersionedTransaction, Budget) {
        let user = UserAccounts { owner: intent.wallet, input: intent.source(), output: intent.destination() };
        let swap = pool.swap(user, &intent.token_in.mint, intent.amount_in.0, intent.min_amount_out.0);
        let block = self.chain.block(Commitment::Confirmed, u64::MAX);
        let message = |budget| compile(&intent.wallet, &plan(intent, swap.clone(), budget), block.blockhash).unwrap();
        let unsigned = |message: &[u8]| wincode::deserialize_exact(&wire(message, Signature([0; 64]))).unwrap();
        let draft = self.chain.simulate(unsigned(&message(Budget::DRAFT)), block);
        let used = match draft {
            Ok(simulated) => simulated.meta.compute_units_consumed,
            Err(failed) => failed.meta.compute_units_consumed,
        };
        let budget = budget(used, &[], 1, LIMITS);
        let message = message(budget);
        let expected = Expected { intent, blockhash: block.blockhash, max_fee: LIMITS.max_fee };
        inspect(&message, &expected, &Of(pool)).unwrap();
        let signature = self.wallet.sign(&message).await.unwrap();
        assert!(self.wallet.public_key().verifies(&message, signature));
        (wincode::deserialize_exact(&wire(&message, signature)).unwrap(), budget)
    }

    fn lamports(&self, account: &Address) -> u64 {
        let account = self.chain.account(account, self.chain.block(Commitment::Processed, u64::MAX));
        account.map_or(0, |account| account.lamports)
    }

    fn exists(&self, account: &Address) -> bool {
        self.chain.account(account, self.chain.block(Commitment::Processed, u64::MAX)).is_some()
    }
}

#[tokio::test]
async fn twenty_sales_of_native_sol_at_once_land_and_leave_the_wrapped_sol_of_the_wallet_alone() {
    const EACH: u64 = 1_000_000_000;
    let mut market = Market::new();
    let mut swaps = Vec::new();
    for order in 0..20 {
        let pool = if order % 2 == 0 { &market.raydium } else { &market.meteora };
        let intent = market.intent([SOL, USDC], EACH, 1, order);
        swaps.push((intent.temporary(), market.signed(pool, &intent).await));
    }
    for (_, (transaction, _)) in &swaps {
        market.chain.send(transaction.clone(), 0);
    }
    market.chain.step(3);
    let mut fees = 0;
    for (temporary, (transaction, budget)) in &swaps {
        let landed = market.chain.find(&transaction.signatures[0]).expect("it landed");
        assert!(landed.error.is_none(), "{:?}: {:?}", landed.error, landed.meta.logs);
        assert!(!market.exists(temporary), "a temporary account is left");
        fees += budget.fee();
    }
    let account_of_usdc = market.chain.rent(165);
    assert_eq!(market.lamports(&address(&market.wallet)), LAMPORTS - 20 * EACH - fees - account_of_usdc);
    assert_eq!(market.chain.token_amount(&market.wrapped), WRAPPED);
    assert!(market.chain.token_amount(&market.usdc) > 2_900_000_000, "about 150 USDC for each SOL");
}

#[tokio::test]
async fn bought_sol_arrives_as_native_sol() {
    let mut market = Market::new().with_usdc();
    for (order, pool) in [market.raydium.clone(), market.meteora.clone()].into_iter().enumerate() {
        let before = market.lamports(&address(&market.wallet));
        let intent = market.intent([USDC, SOL], 150_000_000, 900_000_000, order as u128);
        let (transaction, budget) = market.signed(&pool, &intent).await;
        market.chain.send(transaction.clone(), 0);
        market.chain.step(3);
        let landed = market.chain.find(&transaction.signatures[0]).expect("it landed");
        assert!(landed.error.is_none(), "{:?}: {:?}", landed.error, landed.meta.logs);
        let received = market.lamports(&address(&market.wallet)) + budget.fee() - before;
        assert!((900_000_000..1_000_000_000).contains(&received), "{received}");
        assert!(!market.exists(&intent.temporary()));
    }
    assert_eq!(market.chain.token_amount(&market.wrapped), WRAPPED);
}

#[tokio::test]
async fn a_swap_below_its_floor_costs_the_fee_and_nothing_else() {
    let mut market = Market::new();
    let pool = market.raydium.clone();
    let intent = market.intent([SOL, USDC], 1_000_000_000, 150_000_000, 1);
    let (transaction, budget) = market.signed(&pool, &intent).await;
    market.chain.send(transaction.clone(), 0);
    market.chain.step(3);
    let landed = market.chain.find(&transaction.signatures[0]).expect("it landed");
    assert!(landed.error.is_some());
    assert_eq!(market.lamports(&address(&market.wallet)), LAMPORTS - budget.fee());
    assert!(!market.exists(&intent.temporary()) && !market.exists(&market.usdc));
}

#[tokio::test]
async fn a_wallet_with_exactly_the_needed_lamports_can_pay_and_with_one_less_cannot() {
    const SOLD: u64 = 1_000_000_000;
    let account = Market::new().chain.rent(165);
    let rents = Rents { wallet: Market::new().chain.rent(0), output_account: account };
    let mut outcomes = Vec::new();
    for missing in [0, 1] {
        let mut market = Market::new();
        let pool = market.raydium.clone();
        let intent = market.intent([SOL, USDC], SOLD, 1, 1);
        let (transaction, budget) = market.signed(&pool, &intent).await;
        let lamports = SOLD + budget.fee() + 2 * account - missing;
        market.chain.set_lamports(address(&market.wallet), lamports);
        market.chain.send(transaction.clone(), 0);
        market.chain.step(3);
        let landed = market.chain.find(&transaction.signatures[0]).is_some_and(|landed| landed.error.is_none());
        let foreseen = check_funds(&intent, Funds { lamports, tokens: 0 }, rents, budget.fee());
        assert_eq!(foreseen.is_ok(), landed, "{foreseen:?}");
        outcomes.push(landed);
    }
    assert_eq!(outcomes, [true, false]);
}

//! The quotes and instructions of the engine against the real programs: every random swap must pay exactly its quote, and
//! be refused for one unit more.
//!
//! The files of the programs are not part of this repository: `ORDER_ENGINE_RAYDIUM_CPMM_SO` and
//! `ORDER_ENGINE_METEORA_DAMM_V2_SO` name them. Without a file its test checks the plumbing alone and says so;
//! with `ORDER_ENGINE_REAL_PROGRAMS=required` it fails instead.

use std::collections::BTreeMap;
use std::io::Write;

use litesvm::LiteSVM;
use order_engine::domain::amount::BaseUnits;
use order_engine::venue::meteora_damm_v2::MeteoraDammV2;
use order_engine::venue::pool::{
    Account, Accounts, CLOCK, Direction, Pool, PoolError, PoolKind, PoolKinds, Swap, TOKEN_PROGRAM,
};
use order_engine::venue::raydium_cpmm::RaydiumCpmm;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use solana_address::Address;
use solana_clock::Clock;
use solana_instruction::Instruction;
use solana_message::{Message, VersionedMessage};
use solana_transaction::versioned::VersionedTransaction;

const POOLS: usize = 3_000;
const SWAPS_OF_A_POOL: usize = 8;
const NOW: i64 = 1_780_000_000;
const SLOT: u64 = 300_000_000;

#[test]
fn every_swap_of_the_raydium_program_pays_exactly_its_quote() {
    let Some(program) = real_program("ORDER_ENGINE_RAYDIUM_CPMM_SO") else { return };
    // An older build has no fee of the creator.
    let has_creator_fee = program.windows(17).any(|text| text == b"CollectCreatorFee");
    let market = Market::new(Box::new(RaydiumCpmm::new(RaydiumCpmm::MAINNET)), program, "(6005)");
    market.compare(|chain, random| cpmm_pool(chain, random, has_creator_fee));
}

#[test]
fn every_swap_of_the_meteora_program_pays_exactly_its_quote() {
    let Some(program) = real_program("ORDER_ENGINE_METEORA_DAMM_V2_SO") else { return };
    let market = Market::new(Box::new(MeteoraDammV2::new(MeteoraDammV2::PROGRAM)), program, "(6002)");
    market.compare(damm_v2_pool);
}

fn real_program(variable: &str) -> Option<Vec<u8>> {
    let Some(path) = std::env::var_os(variable) else {
        assert_ne!(
            std::env::var("ORDER_ENGINE_REAL_PROGRAMS").as_deref(),
            Ok("required"),
            "{variable} must name the file of the program"
        );
        // Written past the test harness, which hides what a passing test prints.
        let line = format!("NOT COMPARED: {variable} names no file, so no quote was compared with the real program\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
        return None;
    };
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display())))
}

/// A chain with one program, and the kind that prices its pools.
struct Market {
    chain: LiteSVM,
    kinds: PoolKinds,
    slippage: &'static str,
    user: Address,
}

/// The addresses of a pool on the chain, with a token account of the user for each mint.
struct Listed {
    pool: Address,
    mints: [Address; 2],
}

impl Market {
    fn new(kind: Box<dyn PoolKind>, program: Vec<u8>, slippage: &'static str) -> Self {
        let mut chain = LiteSVM::new().with_sigverify(false).with_blockhash_check(false).with_transaction_history(0);
        chain.add_program(kind.program(), &program).expect("the file is a program");
        chain.set_sysvar(&Clock { slot: SLOT, unix_timestamp: NOW, ..Clock::default() });
        let user = Address::new_unique();
        put(&mut chain, user, Address::default(), Vec::new());
        Self { chain, kinds: PoolKinds::new(vec![kind]), slippage, user }
    }

    fn compare(mut self, mut new_pool: impl FnMut(&mut LiteSVM, &mut SmallRng) -> Listed) {
        let seed = std::env::var("ORDER_ENGINE_CAMPAIGN_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
        eprintln!("ORDER_ENGINE_CAMPAIGN_SEED={seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        let mut counts = BTreeMap::<&str, usize>::new();
        for _ in 0..POOLS {
            let listed = new_pool(&mut self.chain, &mut random);
            for _ in 0..SWAPS_OF_A_POOL {
                let direction = Direction::ALL[random.random_range(0..2)];
                let amount_in = magnitude(&mut random, 0..62);
                *counts.entry(self.swap(&listed, direction, amount_in)).or_default() += 1;
            }
        }
        let line = format!("ORDER_ENGINE_CAMPAIGN_SEED={seed}: {counts:?}\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
        assert!(counts["exact"] >= 10_000, "too few swaps went through: {counts:?}");
    }

    /// Quotes and swaps. The chain must pay the quote, refuse one unit more, and refuse what has no quote.
    fn swap(&mut self, listed: &Listed, direction: Direction, amount_in: u64) -> &'static str {
        let [mint_in, mint_out] = direction.of(listed.mints);
        let [source, destination] = [mint_in, mint_out].map(|_| Address::new_unique());
        token_account(&mut self.chain, source, mint_in, self.user, amount_in);
        token_account(&mut self.chain, destination, mint_out, self.user, 0);
        let (pool, accounts) = self.load(listed.pool, direction);
        let quoted = pool.quote(&accounts, direction, BaseUnits(amount_in));
        let mut swap = Swap {
            direction,
            amount_in: BaseUnits(amount_in),
            min_amount_out: BaseUnits(1),
            user: self.user,
            source,
            destination,
            crossed: Vec::new(),
        };
        let context = format!("{direction:?} {amount_in} in {pool:?}: {quoted:?}");
        let outcome = match &quoted {
            Ok(quoted) => {
                swap.min_amount_out = BaseUnits(quoted.amount_out.0 + 1);
                let refused = self.chain.send_transaction(self.transaction(&*pool, &swap)).expect_err(&context);
                assert!(format!("{:?}", refused.err).contains(self.slippage), "{context}: {refused:?}");
                assert!(refused.meta.logs.iter().any(|line| line.contains("ExceededSlippage")), "{refused:?}");

                swap.min_amount_out = quoted.amount_out;
                let sent = self.chain.send_transaction(self.transaction(&*pool, &swap));
                sent.unwrap_or_else(|refused| panic!("{context}: {refused:?}"));
                assert_eq!(self.balance(destination), quoted.amount_out.0, "{context}");
                assert_eq!(self.balance(source), 0, "{context}");
                "exact"
            }
            Err(error) => {
                let sent = self.chain.send_transaction(self.transaction(&*pool, &swap));
                assert!(sent.is_err(), "the chain pays {} for {context}", self.balance(destination));
                match error {
                    PoolError::TooSmall => "too small",
                    PoolError::OutOfRange => "out of range",
                    PoolError::Disabled => "disabled",
                    PoolError::NotOpen(_) => "not open",
                    PoolError::Empty => "empty",
                    _ => panic!("{context}"),
                }
            }
        };
        for address in [source, destination] {
            self.chain.set_account(address, solana_account::Account::default()).expect("an account is removed");
        }
        outcome
    }

    /// The pool and its accounts, fetched as the engine fetches them.
    fn load(&self, address: Address, direction: Direction) -> (Box<dyn Pool>, Accounts) {
        let fetch = |addresses: Vec<Address>| -> Accounts {
            let account = |address| self.chain.get_account(&address);
            let converted = |account: solana_account::Account| Account { owner: account.owner, data: account.data };
            addresses.into_iter().map(|address| (address, account(address).map(converted))).collect()
        };
        let pool = self.kinds.decode(address, &fetch(vec![address])).expect("the pool is supported");
        let accounts = fetch(pool.accounts_to_fetch(direction));
        (self.kinds.decode(address, &accounts).expect("the pool is supported"), accounts)
    }

    fn transaction(&self, pool: &dyn Pool, swap: &Swap) -> VersionedTransaction {
        let instruction = pool.instruction(swap);
        let mint_in = swap.direction.of(pool.mints())[0];
        assert_eq!(pool.read(&instruction, mint_in).as_ref(), Some(swap));
        transaction(instruction, self.user)
    }

    fn balance(&self, account: Address) -> u64 {
        let account = self.chain.get_account(&account).expect("the account exists");
        u64::from_le_bytes(account.data[64..72].try_into().expect("eight bytes"))
    }
}

fn transaction(instruction: Instruction, payer: Address) -> VersionedTransaction {
    let message = VersionedMessage::Legacy(Message::new(&[instruction], Some(&payer)));
    VersionedTransaction { signatures: vec![Default::default()], message }
}

fn put(chain: &mut LiteSVM, address: Address, owner: Address, data: Vec<u8>) {
    let account = solana_account::Account {
        lamports: 1_000_000_000_000_000,
        data,
        owner,
        executable: false,
        rent_epoch: u64::MAX,
    };
    chain.set_account(address, account).expect("an account can be placed");
}

fn mint(chain: &mut LiteSVM, address: Address) {
    let mut data = vec![0; 82];
    data[36..44].copy_from_slice(&u64::MAX.to_le_bytes());
    data[44] = 6;
    data[45] = 1;
    put(chain, address, TOKEN_PROGRAM, data);
}

fn token_account(chain: &mut LiteSVM, address: Address, mint: Address, owner: Address, amount: u64) {
    let mut data = vec![0; 165];
    data[..32].copy_from_slice(mint.as_ref());
    data[32..64].copy_from_slice(owner.as_ref());
    data[64..72].copy_from_slice(&amount.to_le_bytes());
    data[108] = 1;
    put(chain, address, TOKEN_PROGRAM, data);
}

/// A number of a random size, in bits.
fn magnitude(random: &mut SmallRng, bits: std::ops::Range<u32>) -> u64 {
    let bits = random.random_range(bits);
    random.random_range(0..1 << bits) | 1 << bits
}

/// Writes numbers and addresses at their offsets.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(length: usize, discriminator: [u8; 8]) -> Self {
        let mut data = vec![0; length];
        data[..8].copy_from_slice(&discriminator);
        Self(data)
    }

    fn set(&mut self, at: usize, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

/// Two mints in the order of their bytes.
fn two_mints(chain: &mut LiteSVM, random: &mut SmallRng) -> [Address; 2] {
    let mut mints = [random.random::<[u8; 32]>(), random.random()].map(Address::new_from_array);
    mints.sort();
    mints.map(|address| {
        mint(chain, address);
        address
    })
}

fn cpmm_pool(chain: &mut LiteSVM, random: &mut SmallRng, has_creator_fee: bool) -> Listed {
    let program = RaydiumCpmm::MAINNET;
    let (authority, bump) = Address::find_program_address(&[b"vault_and_lp_mint_auth_seed"], &program);
    let mints = two_mints(chain, random);
    let [pool, config, observation] = [(); 3].map(|()| Address::new_unique());
    let vaults =
        mints.map(|mint| Address::find_program_address(&[b"pool_vault", pool.as_ref(), mint.as_ref()], &program).0);

    let mut data = Bytes::new(236, [0xda, 0xf4, 0x21, 0x68, 0xcb, 0xcb, 0x2b, 0x6f]);
    let trade_rate = magnitude(random, 0..17);
    data.set(12, trade_rate.to_le_bytes()).set(20, 120_000u64.to_le_bytes()).set(28, 40_000u64.to_le_bytes());
    if has_creator_fee {
        data.set(108, magnitude(random, 0..17).to_le_bytes());
    }
    put(chain, config, program, data.0);

    let mut data = Bytes::new(637, [0xf7, 0xed, 0xe3, 0xf5, 0xd7, 0xc3, 0xde, 0x46]);
    data.set(8, config).set(72, vaults[0]).set(104, vaults[1]).set(168, mints[0]).set(200, mints[1]);
    data.set(232, TOKEN_PROGRAM).set(264, TOKEN_PROGRAM).set(296, observation).set(328, [bump]);
    data.set(331, [6, 6]).set(333, 1_000_000u64.to_le_bytes());
    if random.random_range(0..20) == 0 {
        data.set(329, [random.random_range(0..8u8)]);
    }
    let opening = if random.random_range(0..20) == 0 { NOW + random.random_range(0..3) - 1 } else { NOW - 5_000 };
    data.set(373, (opening as u64).to_le_bytes());
    if has_creator_fee {
        data.set(389, [random.random_range(0..3u8), random.random_range(0..2u8)]);
    }
    for (side, fees) in [[341, 357, 397], [349, 365, 405]].into_iter().enumerate() {
        let mut balance = magnitude(random, 4..61);
        for at in fees {
            if at < 389 || has_creator_fee {
                let fee = magnitude(random, 0..40);
                data.set(at, fee.to_le_bytes());
                balance += fee;
            }
        }
        token_account(chain, vaults[side], mints[side], authority, balance);
    }
    put(chain, pool, program, data.0);

    let mut data = Bytes::new(4_075, [0x7a, 0xae, 0xc5, 0x35, 0x81, 0x09, 0xa5, 0x84]);
    data.set(8, [1]).set(11, pool);
    put(chain, observation, program, data.0);
    Listed { pool, mints }
}

fn damm_v2_pool(chain: &mut LiteSVM, random: &mut SmallRng) -> Listed {
    const MIN_SQRT: u128 = 4_295_048_016;
    const MAX_SQRT: u128 = 79_226_673_521_066_979_257_578_248_091;
    let program = MeteoraDammV2::PROGRAM;
    let (authority, _) = Address::find_program_address(&[b"pool_authority"], &program);
    let mints = two_mints(chain, random);
    let pool = Address::new_unique();
    let vaults =
        mints.map(|mint| Address::find_program_address(&[b"token_vault", mint.as_ref(), pool.as_ref()], &program).0);

    let mut data = Bytes::new(1_112, [0xf1, 0x9a, 0x6d, 0x04, 0x11, 0xb1, 0x6d, 0xbc]);
    // The base fee and its schedule.
    let (cliff, periods) = (magnitude(random, 17..29), random.random_range(1..200u16));
    let exponential = random.random_bool(0.5);
    data.set(8, cliff.to_le_bytes()).set(48, [20, 20]);
    if random.random_bool(0.6) {
        let reduction =
            if exponential { random.random_range(1..300) } else { random.random_range(0..cliff / u64::from(periods)) };
        let period = magnitude(random, 0..12);
        data.set(16, [u8::from(exponential)]).set(22, periods.to_le_bytes());
        data.set(24, period.to_le_bytes()).set(32, reduction.to_le_bytes());
    }
    // The surcharge.
    if random.random_bool(0.5) {
        let bin_step = random.random_range(1..50u16);
        data.set(56, [1]).set(64, (magnitude(random, 10..24) as u32).to_le_bytes());
        data.set(68, (magnitude(random, 0..24) as u32).to_le_bytes()).set(72, bin_step.to_le_bytes());
        data.set(74, 10u16.to_le_bytes()).set(76, 120u16.to_le_bytes()).set(78, 5_000u16.to_le_bytes());
        let last = NOW as u64 - random.random_range(0..200);
        data.set(80, last.to_le_bytes()).set(88, ((u128::from(bin_step) << 64) / 10_000).to_le_bytes());
        data.set(120, u128::from(magnitude(random, 0..20)).to_le_bytes());
        data.set(136, u128::from(magnitude(random, 0..20)).to_le_bytes());
    }
    let sqrt_price =
        (u128::from(random.random::<u64>() >> 32 | 1 << 32) << random.random_range(1..63)).clamp(MIN_SQRT, MAX_SQRT);
    let near = random.random_bool(0.3);
    let [lowest, highest] =
        if near { [sqrt_price - sqrt_price / 50, sqrt_price + sqrt_price / 50] } else { [MIN_SQRT, MAX_SQRT] };
    let [lowest, highest] = [lowest.max(MIN_SQRT), highest.min(MAX_SQRT)];
    data.set(104, sqrt_price.to_le_bytes()).set(152, sqrt_price.to_le_bytes());
    data.set(168, mints[0]).set(200, mints[1]).set(232, vaults[0]).set(264, vaults[1]);
    // The vaults hold what the liquidity can pay in the whole range.
    let payable = ((1u128 << 61).saturating_mul(sqrt_price)).min(((1u128 << 127) / sqrt_price).saturating_mul(1 << 62));
    let drawn = u128::from(magnitude(random, 20..62)) << random.random_range(30..64);
    let liquidity = if random.random_range(0..50) == 0 { 0 } else { drawn.min(payable) };
    data.set(360, liquidity.to_le_bytes());
    data.set(424, lowest.to_le_bytes()).set(440, highest.to_le_bytes()).set(456, sqrt_price.to_le_bytes());
    // The activation, by slot or by time.
    let by_time = random.random_bool(0.5);
    let now = if by_time { NOW as u64 } else { SLOT };
    let opening = if random.random_range(0..20) == 0 {
        now + random.random_range(0..3) - 1
    } else {
        now - magnitude(random, 0..20)
    };
    data.set(472, opening.to_le_bytes()).set(480, [u8::from(by_time), u8::from(random.random_range(0..30) == 0)]);
    let mode = random.random_range(0..3u8);
    data.set(484, [mode, 0, random.random_range(0..2u8)]);
    let balances = if mode == 2 { [magnitude(random, 10..60), magnitude(random, 10..60)] } else { [1 << 62; 2] };
    if mode == 2 {
        data.set(54, random.random_range(0..10_000u16).to_le_bytes());
    }
    data.set(680, balances[0].to_le_bytes()).set(688, balances[1].to_le_bytes()).set(696, [1]);
    put(chain, pool, program, data.0);
    for (side, vault) in vaults.into_iter().enumerate() {
        token_account(chain, vault, mints[side], authority, balances[side]);
    }
    Listed { pool, mints }
}

#[test]
fn a_pool_that_is_placed_on_the_chain_is_decoded_with_its_accounts() {
    for kind in [
        Box::new(RaydiumCpmm::new(RaydiumCpmm::MAINNET)) as Box<dyn PoolKind>,
        Box::new(MeteoraDammV2::new(MeteoraDammV2::PROGRAM)),
    ] {
        let is_cpmm = kind.name() == "raydium_cpmm";
        let mut chain = LiteSVM::new();
        let mut random = SmallRng::seed_from_u64(1);
        let listed =
            if is_cpmm { cpmm_pool(&mut chain, &mut random, true) } else { damm_v2_pool(&mut chain, &mut random) };
        let market = Market { chain, kinds: PoolKinds::new(vec![kind]), slippage: "", user: Address::default() };
        let (pool, accounts) = market.load(listed.pool, Direction::AToB);
        assert_eq!(pool.mints(), listed.mints);
        assert!(accounts.clock().is_ok(), "{CLOCK} is the clock");
    }
}

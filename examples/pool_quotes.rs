//! Quotes a pool of each kind from accounts in memory, and measures how long a quote takes.
//!
//! `cargo run --release --example pool_quotes`

use std::time::Instant;

use hdrhistogram::Histogram;
use order_engine::domain::amount::BaseUnits;
use order_engine::venue::meteora_damm_v2::MeteoraDammV2;
use order_engine::venue::pool::{Account, Accounts, CLOCK, Direction, PoolKinds, TOKEN_PROGRAM};
use order_engine::venue::raydium_cpmm::RaydiumCpmm;
use solana_address::Address;

const ROUNDS: u64 = 1_000_000;

fn main() {
    let kinds = PoolKinds::new(vec![
        Box::new(RaydiumCpmm::new(RaydiumCpmm::MAINNET)),
        Box::new(MeteoraDammV2::new(MeteoraDammV2::PROGRAM)),
    ]);
    for (name, pool, accounts) in [("raydium_cpmm", address(1), cpmm()), ("meteora_damm_v2", address(1), damm_v2())] {
        let mut nanoseconds = Histogram::<u64>::new(3).expect("three digits are allowed");
        for round in 0..ROUNDS {
            let amount_in = BaseUnits(1_000_000_000 + round * 1_000);
            let direction = Direction::ALL[usize::from(round % 2 == 1)];
            let started = Instant::now();
            let pool = kinds.decode(pool, &accounts).expect("the bytes are a pool");
            let quoted = pool.quote(&accounts, direction, amount_in);
            nanoseconds.saturating_record(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if round < 2 {
                println!("{name}: {direction:?} {}: {quoted:?}", amount_in.0);
            }
            std::hint::black_box(&quoted);
        }
        let [median, high] = [0.5, 0.99].map(|quantile| nanoseconds.value_at_quantile(quantile));
        println!("{name}: decoding and a quote take {median} ns (median), {high} ns (99 %), {ROUNDS} times");
    }
}

/// 1,000 of token A against 150,000 of token B, with a fee of 0.25 %.
fn cpmm() -> Accounts {
    let kind = RaydiumCpmm::MAINNET;
    let (authority, _) = Address::find_program_address(&[b"vault_and_lp_mint_auth_seed"], &kind);
    let vaults = [(address(3), address(5), 1_000_000_000_000u64), (address(4), address(6), 150_000_000_000)];
    let pool = data(637, [0xf7, 0xed, 0xe3, 0xf5, 0xd7, 0xc3, 0xde, 0x46], |set| {
        let addresses = [(8, 2), (72, 3), (104, 4), (168, 5), (200, 6), (296, 7)];
        addresses.into_iter().for_each(|(at, number)| set(at, address(number).as_ref()));
        [232, 264].into_iter().for_each(|at| set(at, TOKEN_PROGRAM.as_ref()));
    });
    let config = data(236, [0xda, 0xf4, 0x21, 0x68, 0xcb, 0xcb, 0x2b, 0x6f], |set| set(12, &2_500u64.to_le_bytes()));
    let vault = |(vault, mint, balance): (Address, Address, u64)| {
        let data = data(165, [0; 8], |set| {
            set(0, mint.as_ref());
            set(32, authority.as_ref());
            set(64, &balance.to_le_bytes());
            set(108, &[1]);
        });
        (vault, Some(Account { owner: TOKEN_PROGRAM, data }))
    };
    let owned = [(address(1), pool), (address(2), config)]
        .map(|(address, data)| (address, Some(Account { owner: kind, data })));
    owned.into_iter().chain(vaults.map(vault)).chain([clock()]).collect()
}

/// The same price, with a fee of 0.25 % and a surcharge for volatility.
fn damm_v2() -> Accounts {
    let pool = data(1_112, [0xf1, 0x9a, 0x6d, 0x04, 0x11, 0xb1, 0x6d, 0xbc], |set| {
        set(8, &2_500_000u64.to_le_bytes());
        set(56, &[1]);
        set(68, &40_000u32.to_le_bytes());
        set(72, &1u16.to_le_bytes());
        set(120, &100_000u128.to_le_bytes());
        [(168, 2), (200, 3), (232, 4), (264, 5)].into_iter().for_each(|(at, number)| set(at, address(number).as_ref()));
        set(360, &7_144_393_258_909_063_866_463_729_745_920u128.to_le_bytes());
        set(424, &4_295_048_016u128.to_le_bytes());
        set(440, &79_226_673_521_066_979_257_578_248_091u128.to_le_bytes());
        set(456, &7_144_393_258_922_745_856u128.to_le_bytes());
    });
    [(address(1), Some(Account { owner: MeteoraDammV2::PROGRAM, data: pool })), clock()].into_iter().collect()
}

fn address(number: u8) -> Address {
    Address::new_from_array([number; 32])
}

fn clock() -> (Address, Option<Account>) {
    let owner = Address::from_str_const("Sysvar1111111111111111111111111111111111111");
    let data = [300_000_000, 0, 700, 701, 1_780_000_000u64].map(u64::to_le_bytes).concat();
    (CLOCK, Some(Account { owner, data }))
}

/// The data of an account: a discriminator, and fields at their offsets.
fn data(length: usize, discriminator: [u8; 8], fields: impl FnOnce(&mut dyn FnMut(usize, &[u8]))) -> Vec<u8> {
    let mut data = vec![0; length];
    let mut set = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
    set(0, &discriminator);
    fields(&mut set);
    data
}

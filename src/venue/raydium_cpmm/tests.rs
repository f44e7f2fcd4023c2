use num_bigint::BigUint;

use super::*;
use crate::fuzz::{Fuzzer, many};
use crate::venue::pool::testing::{
    Data, address, clock, instructions_are_read_exactly, magnitude, no_bytes_make_it_panic, quote, token_account,
};
use crate::venue::pool::{TOKEN_PROGRAM, Unsupported};

const NOW: u64 = 1_780_000_000;

/// The numbers of a pool.
#[derive(Clone, Debug)]
struct Sample {
    reserves: [u64; 2],
    /// Owed to the protocol, the fund and the creator.
    owed: [[u64; 3]; 2],
    trade_rate: u64,
    creator_rate: u64,
    /// Whether there is a fee of the creator, and its side.
    creator: (u8, u8),
    status: u8,
    open_time: u64,
}

impl Sample {
    fn new(reserves: [u64; 2], trade_rate: u64) -> Self {
        let owed = [[0; 3]; 2];
        Self { reserves, owed, trade_rate, creator_rate: 0, creator: (0, 0), status: 0, open_time: 0 }
    }

    fn accounts(&self) -> Vec<(Address, Option<Account>)> {
        let config = Data::new(236, [0xda, 0xf4, 0x21, 0x68, 0xcb, 0xcb, 0x2b, 0x6f])
            .set(12, self.trade_rate.to_le_bytes())
            .set(108, self.creator_rate.to_le_bytes());
        let [[protocol_a, fund_a, creator_a], [protocol_b, fund_b, creator_b]] = self.owed;
        let pool = Data::new(637, [0xf7, 0xed, 0xe3, 0xf5, 0xd7, 0xc3, 0xde, 0x46])
            .set(8, address(2))
            .set(72, address(3))
            .set(104, address(4))
            .set(168, address(5))
            .set(200, address(6))
            .set(232, TOKEN_PROGRAM)
            .set(264, TOKEN_PROGRAM)
            .set(296, address(7))
            .set(329, [self.status])
            .set(341, [protocol_a, protocol_b, fund_a, fund_b, self.open_time].map(u64::to_le_bytes).concat())
            .set(389, [self.creator.1, self.creator.0])
            .set(397, [creator_a, creator_b].map(u64::to_le_bytes).concat());
        let owned = |data: Data| Some(Account { owner: RaydiumCpmm::MAINNET, data: data.0 });
        let vault = |side: usize| {
            let balance = self.owed[side].iter().fold(self.reserves[side], |sum, owed| sum.saturating_add(*owed));
            Some(token_account(address([5, 6][side]), kind().authority, balance))
        };
        vec![
            (address(1), owned(pool)),
            (address(2), owned(config)),
            (address(3), vault(0)),
            (address(4), vault(1)),
            clock(9, NOW),
        ]
    }

    fn quote(&self, direction: Direction, amount_in: u64) -> Result<Quoted, PoolError> {
        quote(&kind(), address(1), &self.accounts().into_iter().collect(), direction, amount_in)
    }

    /// The output and the fees on input and output.
    fn amounts(&self, direction: Direction, amount_in: u64) -> (u64, u64, u64) {
        let quoted = self.quote(direction, amount_in).unwrap();
        (quoted.amount_out.0, quoted.fee_on_input.0, quoted.fee_on_output.0)
    }

    fn decoded(&self) -> Result<Box<dyn Pool>, PoolError> {
        kind().decode(address(1), self.accounts()[0].1.as_ref().unwrap())
    }
}

fn kind() -> RaydiumCpmm {
    RaydiumCpmm::new(RaydiumCpmm::MAINNET)
}

#[test]
fn the_authority_of_the_mainnet_program_is_derived() {
    assert_eq!(kind().authority.to_string(), "GpMZbSM2GgvTKHJirzeGfMFoaZ8UR2X7F4v8vHTvxFbL");
}

#[test]
fn quotes_equal_amounts_that_the_program_paid() {
    let pool = Sample::new([1_000_000_000_000, 150_000_000_000], 2_500);
    assert_eq!(pool.amounts(Direction::AToB, 1_727_222_985), (257_991_244, 4_318_058, 0));
    let pool = Sample::new([1_001_726_532_097, 149_742_008_756], 2_500);
    assert_eq!(pool.amounts(Direction::BToA, 307_499_238), (2_047_735_093, 768_749, 0));
}

#[test]
fn a_fee_of_the_creator_is_taken_on_its_side() {
    let small =
        |side| Sample { creator_rate: 500, creator: (1, side), ..Sample::new([1_000_000_000, 2_000_000_000], 2_500) };
    let (on_input, on_output) = ((1_992_013, 3_000, 0), (1_992_014, 2_500, 997));
    assert_eq!(small(0).amounts(Direction::AToB, 1_000_000), on_input);
    assert_eq!(small(1).amounts(Direction::AToB, 1_000_000), on_input);
    assert_eq!(small(2).amounts(Direction::AToB, 1_000_000), on_output);
    let off = Sample { creator: (0, 2), ..small(0) };
    assert_eq!(off.amounts(Direction::AToB, 1_000_000).2, 0);

    let reserves = [3_961_074_622, 1_073_879_918];
    let paid = Sample { creator_rate: 5_000, creator: (1, 0), ..Sample::new(reserves, 100) };
    assert_eq!(paid.amounts(Direction::AToB, 52_101_250), (13_871_513, 265_717, 0));
    let reserves = [1_299_992_612, 859_204_339];
    let paid = Sample { creator_rate: 500, creator: (1, 1), ..Sample::new(reserves, 20_000) };
    assert_eq!(paid.amounts(Direction::BToA, 18_601_281), (26_994_689, 372_026, 13_505));
}

#[test]
fn what_is_owed_is_no_liquidity() {
    let pool = Sample::new([1_000_000_000_000, 150_000_000_000], 2_500);
    let owing = Sample { owed: [[1, 20, 300], [4_000, 50_000, 600_000]], ..pool.clone() };
    assert_eq!(owing.quote(Direction::AToB, 1_727_222_985), pool.quote(Direction::AToB, 1_727_222_985));
    assert_eq!(owing.quote(Direction::BToA, 1_727_222_985), pool.quote(Direction::BToA, 1_727_222_985));
    let more_than_all = Sample { owed: [[u64::MAX, 1, 0], [0; 3]], ..pool };
    assert_eq!(more_than_all.quote(Direction::AToB, 1), Err(PoolError::Empty));
}

#[test]
fn the_price_impact_is_the_share_of_the_input_in_the_pool() {
    let pool = Sample::new([900_000, 1_000_000_000], 0);
    assert_eq!(pool.quote(Direction::AToB, 100_000).unwrap().price_impact.to_string(), "0.1");
    assert_eq!(pool.quote(Direction::AToB, 1).unwrap().price_impact.to_string(), "0.000002");
}

#[test]
fn a_pool_without_swaps_says_why() {
    let pool = Sample::new([1_000_000, 1_000_000], 2_500);
    let refusal = |pool: &Sample, amount_in| pool.quote(Direction::AToB, amount_in).unwrap_err();
    for status in 0..=u8::MAX {
        let disabled = Sample { status, ..pool.clone() }.quote(Direction::AToB, 1_000) == Err(PoolError::Disabled);
        assert_eq!(disabled, status & 4 != 0, "{status}");
    }
    let opens = |open_time| Sample { open_time, ..pool.clone() }.quote(Direction::AToB, 1_000);
    assert!(opens(NOW).is_ok());
    assert_eq!(opens(NOW + 1), Err(PoolError::NotOpen(Opening::UnixTime(NOW + 1))));
    assert_eq!(refusal(&Sample::new([0, 1_000_000], 2_500), 1_000), PoolError::Empty);
    assert_eq!(refusal(&Sample::new([1_000_000, 0], 2_500), 1_000), PoolError::Empty);
    assert_eq!(refusal(&pool, 0), PoolError::TooSmall);
    assert_eq!(refusal(&pool, 1), PoolError::TooSmall);
    assert_eq!(refusal(&pool, u64::MAX), PoolError::OutOfRange);
    let rate = Unsupported::Unknown { field: "the fee rate in millionths", value: 1_000_000 };
    assert_eq!(refusal(&Sample::new([1_000_000, 1_000_000], 1_000_000), 1_000), rate.into());
}

#[test]
fn an_account_of_something_else_is_refused() {
    let [(_, pool), ..] = &Sample::new([1, 1], 0).accounts()[..] else { unreachable!() };
    let pool = pool.clone().unwrap();
    let refused = |account: Account| kind().decode(address(1), &account).unwrap_err();
    let wrong = PoolError::WrongAccount { address: address(1), expected: "a pool of Raydium CPMM" };
    assert_eq!(refused(Account { owner: address(9), ..pool.clone() }), wrong);
    assert_eq!(refused(Account { data: pool.data[..636].to_vec(), ..pool.clone() }), wrong);
    assert_eq!(refused(Account { data: Data(pool.data.clone()).set(0, [0]).0, ..pool.clone() }), wrong);
    assert_eq!(refused(Account { data: Vec::new(), ..pool.clone() }), wrong);
    for at in [232, 264] {
        let token_2022 = Account { data: Data(pool.data.clone()).set(at, address(8)).0, ..pool.clone() };
        assert_eq!(refused(token_2022), Unsupported::TokenProgram.into());
    }
    let side = Sample { creator: (1, 3), ..Sample::new([1, 1], 0) }.decoded().unwrap_err();
    assert_eq!(side, Unsupported::Unknown { field: "the side of the creator fee", value: 3 }.into());
}

#[test]
fn a_vault_that_the_pool_cannot_use_is_refused() {
    for (at, byte) in [(0, 99), (32, 99), (108, 2)] {
        let mut accounts = Sample::new([1_000, 1_000], 0).accounts();
        accounts[2].1.as_mut().unwrap().data[at] = byte;
        let quoted = quote(&kind(), address(1), &accounts.into_iter().collect(), Direction::AToB, 100);
        assert_eq!(quoted, Err(Unsupported::Vault(address(3)).into()));
    }
}

#[test]
fn all_accounts_that_are_missing_are_named_at_once() {
    let pool = Sample::new([1_000, 1_000], 0);
    let needed = pool.decoded().unwrap().accounts_to_fetch(Direction::AToB);
    assert_eq!(needed, [address(1), CLOCK, address(2), address(3), address(4)]);
    let alone = pool.accounts().into_iter().take(1).collect();
    let missing = quote(&kind(), address(1), &alone, Direction::AToB, 100);
    assert_eq!(missing, Err(PoolError::NotLoaded(needed[1..].to_vec())));
}

/// The result as the definition of each rounding states it, and not as a formula computes it.
fn assert_exact(sample: &Sample, direction: Direction, amount_in: u64, quoted: &Quoted) {
    let [reserve_in, reserve_out] = direction.of(sample.reserves).map(BigUint::from);
    let on_input = match (sample.creator, direction) {
        ((0, _), _) => None,
        ((_, 0), _) | ((_, 1), Direction::AToB) | ((_, 2), Direction::BToA) => Some(true),
        _ => Some(false),
    };
    let creator = |side| if on_input == Some(side) { sample.creator_rate } else { 0 };
    let gross_out = quoted.amount_out.0 + quoted.fee_on_output.0;
    for (fee, amount, rate) in [
        (quoted.fee_on_input.0, amount_in, sample.trade_rate + creator(true)),
        (quoted.fee_on_output.0, gross_out, creator(false)),
    ] {
        let owed = BigUint::from(amount) * rate;
        let charged = |fee: u64| BigUint::from(fee) * 1_000_000u32;
        assert!(charged(fee) >= owed && (fee == 0 || charged(fee - 1) < owed), "the least fee that covers the rate");
    }
    let product = &reserve_in * &reserve_out;
    let after_in = &reserve_in + (amount_in - quoted.fee_on_input.0);
    let keeps_product = |out: u64| &after_in * (&reserve_out - out) >= product;
    let is_last = BigUint::from(gross_out) == reserve_out || !keeps_product(gross_out + 1);
    assert!(keeps_product(gross_out) && is_last, "the largest output that keeps the product");
}

fn random_sample(fuzzer: &mut Fuzzer) -> Sample {
    let rate = |fuzzer: &mut Fuzzer| [0, 1, 100, 2_500, 20_000, 400_000][fuzzer.below(6)];
    let owed = [(); 2].map(|()| [(); 3].map(|()| magnitude(fuzzer) >> 24));
    let reserve = |fuzzer: &mut Fuzzer, owed: [u64; 3]| magnitude(fuzzer).min(u64::MAX - owed.iter().sum::<u64>());
    Sample {
        reserves: [reserve(fuzzer, owed[0]), reserve(fuzzer, owed[1])],
        owed,
        trade_rate: rate(fuzzer),
        creator_rate: rate(fuzzer),
        creator: (fuzzer.below(2) as u8, fuzzer.below(3) as u8),
        status: 0,
        open_time: 0,
    }
}

#[test]
fn random_quotes_are_exact_by_the_definition_of_their_roundings() {
    many("raydium_cpmm_quotes", |fuzzer| {
        let sample = random_sample(fuzzer);
        let (direction, amount_in) = (Direction::ALL[fuzzer.below(2)], magnitude(fuzzer));
        let quoted = sample.quote(direction, amount_in);
        if let Ok(quoted) = &quoted {
            assert_exact(&sample, direction, amount_in, quoted);
        }
        quoted.is_ok()
    });
}

#[test]
fn no_bytes_of_the_accounts_make_a_quote_panic() {
    let sample = Sample { creator_rate: 500, creator: (1, 2), ..Sample::new([1 << 40, 1 << 50], 2_500) };
    no_bytes_make_it_panic(&kind(), address(1), &sample.accounts());
}

#[test]
fn an_instruction_is_read_as_what_it_was_built_for_and_as_nothing_else() {
    instructions_are_read_exactly(&kind(), &*Sample::new([1, 1], 0).decoded().unwrap());
}

#[test]
fn the_instruction_has_the_accounts_in_the_order_of_the_program() {
    let swap = Swap {
        direction: Direction::BToA,
        amount_in: BaseUnits(1),
        min_amount_out: BaseUnits(2),
        user: address(21),
        source: address(22),
        destination: address(23),
        crossed: Vec::new(),
    };
    let instruction = Sample::new([1, 1], 0).decoded().unwrap().instruction(&swap);
    assert_eq!(
        instruction.data,
        [0x8f, 0xbe, 0x5a, 0xda, 0xc4, 0x1e, 0x33, 0xde, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    );
    let accounts: Vec<_> = instruction.accounts.iter().map(|account| account.pubkey).collect();
    let [user, source, destination] = [swap.user, swap.source, swap.destination];
    #[rustfmt::skip]
    let expected = [
        user, kind().authority, address(2), address(1), source, destination, address(4), address(3), TOKEN_PROGRAM,
        TOKEN_PROGRAM, address(6), address(5), address(7),
    ];
    assert_eq!(accounts, expected);
    let writable: Vec<_> = (0..13).filter(|place| instruction.accounts[*place].is_writable).collect();
    assert_eq!(writable, [3, 4, 5, 6, 7, 12]);
    assert!(instruction.accounts.iter().all(|account| account.is_signer == (account.pubkey == user)));
}

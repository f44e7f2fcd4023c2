use num_bigint::BigUint;

use super::*;
use crate::fuzz::{Fuzzer, many};
use crate::venue::pool::testing::{
    Data, address, clock, instructions_are_read_exactly, magnitude, no_bytes_make_it_panic, quote,
};
use crate::venue::pool::{CLOCK, Opening, TOKEN_PROGRAM, Unsupported};

const NOW: u64 = 1_780_000_000;
const SLOT: u64 = 300_000_000;

/// The numbers of a pool.
#[derive(Clone, Debug)]
struct Sample {
    fee: SampleFee,
    liquidity: u128,
    sqrt_price: u128,
    sqrt_range: [u128; 2],
    reserves: [u64; 2],
    /// 0: in the output, 1: in token B, 2: in token B of a constant product.
    mode: u8,
    opens: u64,
    /// 0: a slot, 1: a time.
    opens_type: u8,
    status: u8,
}

#[derive(Clone, Debug, Default)]
struct SampleFee {
    first: u64,
    mode: u8,
    periods: u16,
    period: u64,
    reduction: u64,
    version: u8,
    /// Accumulator, bin step and control.
    volatility: Option<(u128, u16, u32)>,
}

impl SampleFee {
    fn new(first: u64) -> Self {
        Self { first, ..Self::default() }
    }
}

impl Sample {
    /// The pool of the worked numbers.
    fn new(mode: u8) -> Self {
        Self {
            fee: SampleFee::new(2_500_000),
            liquidity: 7_144_393_258_909_063_866_463_729_745_920,
            sqrt_price: 7_144_393_258_922_745_856,
            sqrt_range: [4_295_048_016, 79_226_673_521_066_979_257_578_248_091],
            reserves: [999_999_999_999, 150_000_000_000],
            mode,
            opens: 0,
            opens_type: 1,
            status: 0,
        }
    }

    fn with_fee(fee: SampleFee) -> Self {
        Self { fee, opens: NOW - 1_000, ..Self::new(0) }
    }

    fn account(&self) -> Account {
        let fee = &self.fee;
        let mut data = Data::new(1_112, [0xf1, 0x9a, 0x6d, 0x04, 0x11, 0xb1, 0x6d, 0xbc])
            .set(8, fee.first.to_le_bytes())
            .set(16, [fee.mode])
            .set(22, fee.periods.to_le_bytes())
            .set(24, fee.period.to_le_bytes())
            .set(32, fee.reduction.to_le_bytes())
            .set(168, address(2))
            .set(200, address(3))
            .set(232, address(4))
            .set(264, address(5))
            .set(360, self.liquidity.to_le_bytes())
            .set(424, self.sqrt_range.map(u128::to_le_bytes).concat())
            .set(456, self.sqrt_price.to_le_bytes())
            .set(472, self.opens.to_le_bytes())
            .set(480, [self.opens_type, self.status, 0, 0, self.mode, 0, fee.version])
            .set(680, self.reserves.map(u64::to_le_bytes).concat());
        if let Some((accumulator, bin_step, control)) = fee.volatility {
            data = data.set(56, [1]).set(68, control.to_le_bytes()).set(72, bin_step.to_le_bytes());
            data = data.set(120, accumulator.to_le_bytes());
        }
        Account { owner: MeteoraDammV2::PROGRAM, data: data.0 }
    }

    fn accounts(&self) -> Vec<(Address, Option<Account>)> {
        vec![(address(1), Some(self.account())), clock(SLOT, NOW)]
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
        kind().decode(address(1), &self.account())
    }
}

fn kind() -> MeteoraDammV2 {
    MeteoraDammV2::new(MeteoraDammV2::PROGRAM)
}

#[test]
fn the_authorities_of_the_program_are_derived() {
    assert_eq!(kind().authority.to_string(), "HLnpSz9h2S4hiLQ43rnSD9XkcUThA7B8hQMKmDaiTLcC");
    assert_eq!(kind().event_authority.to_string(), "3rmHSu74h1ZcmAisVcWerTCiRDQbUrBKmcwptYGjHfet");
}

#[test]
fn quotes_equal_amounts_that_the_program_paid() {
    let pool = Sample::new(0);
    assert_eq!(pool.amounts(Direction::BToA, 47_813_969), (317_861_571, 0, 796_646));
    let next = Sample { sqrt_price: 7_146_670_604_241_456_491, ..pool.clone() };
    assert_eq!(next.amounts(Direction::BToA, 89_884_315), (596_992_189, 0, 1_496_222));
    assert_eq!(pool.amounts(Direction::AToB, 1_000_000_000), (149_475_523, 0, 374_626));

    assert_eq!(Sample::new(1).amounts(Direction::BToA, 224_912_494), (1_493_434_397, 562_282, 0));
    assert_eq!(Sample::new(1).amounts(Direction::AToB, 1_000_000_000), (149_475_523, 0, 374_626));
    assert_eq!(Sample::new(2).amounts(Direction::AToB, 2_390_422_075), (356_813_966, 0, 894_271));
}

/// The rate in billionths, seen in a quote whose fee is on a large input.
fn rate(fee: SampleFee) -> Result<u64, PoolError> {
    let pool = Sample { mode: 2, reserves: [1 << 60; 2], ..Sample::with_fee(fee) };
    Ok(pool.quote(Direction::BToA, 1_000_000_000)?.fee_on_input.0)
}

#[test]
fn a_linear_fee_falls_by_the_same_amount_in_each_period_until_the_last() {
    let fee = |period, periods| SampleFee { periods, period, reduction: 1_000, ..SampleFee::new(50_000_000) };
    assert_eq!(rate(fee(100, 144)), Ok(49_990_000), "1,000 seconds are 10 periods");
    assert_eq!(rate(fee(100, 7)), Ok(49_993_000));
    assert_eq!(rate(fee(1_001, 7)), Ok(50_000_000));
    assert_eq!(rate(fee(0, 7)), Ok(50_000_000), "without periods");
    let unknown = Unsupported::Unknown { field: "the reduction of the fee in a period", value: 1_000 };
    assert_eq!(rate(SampleFee { first: 999, ..fee(1_000, 7) }), Err(unknown.into()));
}

#[test]
fn an_exponential_fee_falls_by_the_same_share_in_each_period() {
    let fee = |period, reduction| SampleFee { mode: 1, periods: 144, period, reduction, ..SampleFee::new(500_000_000) };
    assert_eq!(rate(fee(1_000, 5_000)), Ok(250_000_000), "one period");
    assert_eq!(rate(fee(500, 5_000)), Ok(125_000_000), "two periods");
    assert_eq!(rate(fee(100, 0)), Ok(500_000_000));
    assert_eq!(rate(fee(100, 10_000)), Ok(0));
    let unknown = Unsupported::Unknown { field: "the reduction of the fee in a period", value: 10_001 };
    assert_eq!(rate(fee(100, 10_001)), Err(unknown.into()));
}

#[test]
fn the_volatility_adds_to_the_fee_up_to_the_cap_of_its_version() {
    let fee = |volatility, version| SampleFee { version, volatility: Some(volatility), ..SampleFee::new(2_500_000) };
    // 100,000 squared, times 20, is 2; one unit more is rounded up.
    assert_eq!(rate(fee((10_000, 10, 20), 0)), Ok(2_500_002));
    assert_eq!(rate(fee((10_000, 10, 21), 0)), Ok(2_500_003));
    assert_eq!(rate(fee((10_000_000, 100, u32::MAX), 0)), Ok(500_000_000));
    assert_eq!(rate(fee((10_000_000, 100, u32::MAX), 1)), Ok(990_000_000));
    let unknown = Unsupported::Unknown { field: "the volatility", value: u64::MAX };
    assert_eq!(rate(fee((u128::MAX, 1, 1), 1)), Err(unknown.into()));
}

#[test]
fn the_price_impact_is_how_far_the_mean_price_is_from_the_price_before() {
    // The square root rises from 1 to 1.25: the mean price is 1.25, and 0.8 of what is paid buys at the price before.
    let one = 1u128 << 64;
    let pool = Sample { fee: SampleFee::new(0), sqrt_price: one, liquidity: 1_000_000 * one, ..Sample::new(0) };
    let quoted = pool.quote(Direction::BToA, 250_000).unwrap();
    assert_eq!((quoted.amount_out.0, quoted.price_impact.to_string()), (200_000, "0.2".to_owned()));
    // It falls from 1 to 0.8.
    let quoted = pool.quote(Direction::AToB, 250_000).unwrap();
    assert_eq!((quoted.amount_out.0, quoted.price_impact.to_string()), (199_999, "0.2".to_owned()));
    let product = Sample { fee: SampleFee::new(0), reserves: [900_000, 1_000_000], ..Sample::new(2) };
    assert_eq!(product.quote(Direction::AToB, 100_000).unwrap().price_impact.to_string(), "0.1");
}

#[test]
fn a_price_outside_the_range_is_refused_and_the_bound_itself_is_not() {
    let pool = Sample::new(0);
    let after_sale = 7_137_256_002_919_812_376;
    let bounded =
        |bound| Sample { sqrt_range: [bound, u128::MAX], ..pool.clone() }.quote(Direction::AToB, 1_000_000_000);
    assert!(bounded(after_sale).is_ok());
    assert_eq!(bounded(after_sale + 1), Err(PoolError::OutOfRange));
    let after_purchase = 7_146_670_604_241_456_491;
    let bounded = |bound| Sample { sqrt_range: [0, bound], ..pool.clone() }.quote(Direction::BToA, 47_813_969);
    assert!(bounded(after_purchase).is_ok());
    assert_eq!(bounded(after_purchase - 1), Err(PoolError::OutOfRange));
}

#[test]
fn a_pool_without_swaps_says_why() {
    let pool = Sample::new(0);
    let refusal = |pool: Sample, amount_in| pool.quote(Direction::AToB, amount_in).unwrap_err();
    assert_eq!(refusal(Sample { status: 1, ..pool.clone() }, 1_000), PoolError::Disabled);
    for (opens_type, now, opening) in [(0, SLOT, Opening::Slot as fn(u64) -> _), (1, NOW, Opening::UnixTime)] {
        let opens = |opens| Sample { opens, opens_type, ..pool.clone() }.quote(Direction::AToB, 1_000);
        assert!(opens(now).is_ok());
        assert_eq!(opens(now + 1), Err(PoolError::NotOpen(opening(now + 1))));
    }
    assert_eq!(refusal(Sample { liquidity: 0, ..pool.clone() }, 1_000), PoolError::Empty);
    assert_eq!(refusal(Sample { liquidity: 0, ..Sample::new(2) }, 1_000), PoolError::Empty);
    assert_eq!(refusal(Sample { sqrt_price: 0, ..pool.clone() }, 1_000), PoolError::Empty);
    assert_eq!(refusal(Sample { reserves: [0, 1], ..Sample::new(2) }, 1_000), PoolError::Empty);
    assert_eq!(refusal(Sample { reserves: [1, 0], ..Sample::new(2) }, 1_000), PoolError::Empty);
    assert_eq!(refusal(Sample { reserves: [u64::MAX, 9], ..Sample::new(2) }, 1_000), PoolError::OutOfRange);
    assert_eq!(refusal(pool.clone(), 0), PoolError::TooSmall);
    assert_eq!(refusal(pool, 1), PoolError::TooSmall);
    assert_eq!(Sample::new(1).quote(Direction::BToA, 1), Err(PoolError::TooSmall), "all of it is the fee");
}

#[test]
fn a_pool_that_cannot_be_priced_exactly_is_refused_with_the_reason() {
    let refused = |at: usize, value: u8| {
        let account = Sample::new(0).account();
        kind().decode(address(1), &Account { data: Data(account.data).set(at, [value]).0, ..account }).unwrap_err()
    };
    let unknown = |field, value| PoolError::from(Unsupported::Unknown { field, value });
    assert_eq!(refused(16, 2), Unsupported::RateLimiter.into());
    assert_eq!(refused(16, 3), Unsupported::MarketCapScheduler.into());
    assert_eq!(refused(16, 4), Unsupported::MarketCapScheduler.into());
    assert_eq!(refused(16, 5), unknown("the mode of the base fee", 5));
    assert_eq!(refused(480, 2), unknown("the type of the activation", 2));
    assert_eq!(refused(482, 1), Unsupported::TokenProgram.into());
    assert_eq!(refused(483, 1), Unsupported::TokenProgram.into());
    assert_eq!(refused(484, 3), unknown("the mode of the fee", 3));
    assert_eq!(refused(486, 2), unknown("the version of the fee", 2));
}

#[test]
fn an_account_of_something_else_is_refused() {
    let pool = Sample::new(0).account();
    let wrong = PoolError::WrongAccount { address: address(1), expected: "a pool of Meteora DAMM v2" };
    for account in [
        Account { owner: address(9), ..pool.clone() },
        Account { data: pool.data[..1_111].to_vec(), ..pool.clone() },
        Account { data: Data(pool.data.clone()).set(7, [0]).0, ..pool.clone() },
        Account { data: Vec::new(), ..pool.clone() },
    ] {
        assert_eq!(kind().decode(address(1), &account).unwrap_err(), wrong);
    }
}

#[test]
fn a_quote_needs_the_pool_and_the_clock() {
    let pool = Sample::new(0);
    assert_eq!(pool.decoded().unwrap().accounts_to_fetch(Direction::AToB), [address(1), CLOCK]);
    let alone = pool.accounts().into_iter().take(1).collect();
    let missing = quote(&kind(), address(1), &alone, Direction::AToB, 100);
    assert_eq!(missing, Err(PoolError::NotLoaded(vec![CLOCK])));
}

/// The rate in billionths, by adding up periods one at a time.
fn expected_rate(fee: &SampleFee, open_for: u64) -> u64 {
    let periods = (1..=u64::from(fee.periods))
        .take_while(|period| fee.period > 0 && period * fee.period <= open_for)
        .count() as u64;
    let one = BigUint::from(1u8) << 64;
    let base = match fee.mode {
        0 => (0..periods).fold(BigUint::from(fee.first), |rate, _| rate - fee.reduction),
        _ => {
            let kept = &one - (BigUint::from(fee.reduction) << 64usize) / 10_000u32;
            // The powers with exponents 1, 2, 4 and so on, and their product, each cut to 64 binary places.
            let squares = std::iter::successors(Some(kept), |square| Some((square * square) >> 64));
            let bits = (0..17).map(|bit| periods >> bit & 1 == 1);
            let power =
                squares.zip(bits).filter(|(_, set)| *set).fold(one, |power, (square, _)| (power * square) >> 64);
            (power * fee.first) >> 64
        }
    };
    let surcharge = fee.volatility.map_or(BigUint::ZERO, |(accumulator, bin_step, control)| {
        let exact = (BigUint::from(accumulator) * bin_step).pow(2) * control;
        (exact + 99_999_999_999u64) / 100_000_000_000u64
    });
    let cap = [500_000_000u32, 990_000_000][usize::from(fee.version)];
    u64::try_from((base + surcharge).min(cap.into())).unwrap()
}

/// The result as the definition of each rounding states it, and not as a formula computes it.
fn assert_exact(sample: &Sample, direction: Direction, amount_in: u64, quoted: &Quoted) {
    let now = [SLOT, NOW][usize::from(sample.opens_type)];
    let rate = expected_rate(&sample.fee, now - sample.opens);
    let on_input = sample.mode > 0 && direction == Direction::BToA;
    let gross_out = quoted.amount_out.0 + quoted.fee_on_output.0;
    for (fee, amount, rate) in [
        (quoted.fee_on_input.0, amount_in, if on_input { rate } else { 0 }),
        (quoted.fee_on_output.0, gross_out, if on_input { 0 } else { rate }),
    ] {
        let owed = BigUint::from(amount) * rate;
        let charged = |fee: u64| BigUint::from(fee) * 1_000_000_000u32;
        assert!(charged(fee) >= owed && (fee == 0 || charged(fee - 1) < owed), "the least fee that covers the rate");
    }
    let (net_in, gross, more) =
        (BigUint::from(amount_in - quoted.fee_on_input.0), BigUint::from(gross_out), BigUint::from(gross_out) + 1u8);
    let [liquidity, before, lowest, highest] =
        [sample.liquidity, sample.sqrt_price, sample.sqrt_range[0], sample.sqrt_range[1]].map(BigUint::from);
    match (sample.mode, direction) {
        (2, _) => {
            let [reserve_in, reserve_out] = direction.of(sample.reserves).map(BigUint::from);
            let product = &reserve_in * &reserve_out;
            let after_in = reserve_in + net_in;
            assert!(&after_in * (&reserve_out - &gross) >= product, "the product is kept");
            assert!(more > reserve_out || after_in * (reserve_out - more) < product, "no unit more would keep it");
        }
        (_, Direction::AToB) => {
            // The price after is the least that the liquidity allows.
            let allowed = |after: &BigUint| after * (&liquidity + &net_in * &before) >= &liquidity * &before;
            let after =
                (&liquidity * &before + &liquidity + &net_in * &before - 1u8) / (&liquidity + &net_in * &before);
            assert!(allowed(&after) && !allowed(&(&after - 1u8)) && after >= lowest);
            let worth = &liquidity * (&before - &after);
            assert!((gross << 128) <= worth && (more << 128) > worth);
        }
        (_, Direction::BToA) => {
            let rise = (&net_in << 128) / &liquidity;
            let after = &before + &rise;
            assert!(&rise * &liquidity <= (&net_in << 128) && (&rise + 1u8) * &liquidity > (net_in << 128));
            assert!(after <= highest);
            let (worth, prices) = (liquidity * rise, before * after);
            assert!(gross * &prices <= worth && more * prices > worth);
        }
    }
}

fn random_sample(fuzzer: &mut Fuzzer) -> Sample {
    let periods = 1 + fuzzer.below(200) as u16;
    let first = 1 + fuzzer.random::<u64>() % 500_000_000;
    let mode = fuzzer.below(2) as u8;
    let reduction = match mode {
        0 => fuzzer.random::<u64>() % (first / u64::from(periods)).max(1),
        _ => fuzzer.random::<u64>() % 10_001,
    };
    let volatility =
        (u128::from(fuzzer.random::<u32>() >> fuzzer.below(20)), fuzzer.below(50) as u16, fuzzer.random::<u32>() >> 8);
    let fee = SampleFee {
        first,
        mode,
        periods,
        period: fuzzer.random::<u64>() >> (40 + fuzzer.below(24)),
        reduction,
        version: fuzzer.below(2) as u8,
        volatility: (fuzzer.below(2) == 0).then_some(volatility),
    };
    let wide = |fuzzer: &mut Fuzzer| fuzzer.random::<u128>() >> fuzzer.below(128);
    let sqrt_price = wide(fuzzer);
    let sqrt_range =
        if fuzzer.below(2) == 0 { [0, u128::MAX] } else { [sqrt_price - sqrt_price / 3, sqrt_price.saturating_mul(2)] };
    let opens_type = fuzzer.below(2) as u8;
    Sample {
        fee,
        liquidity: wide(fuzzer),
        sqrt_price,
        sqrt_range,
        reserves: [magnitude(fuzzer), magnitude(fuzzer)],
        mode: fuzzer.below(3) as u8,
        opens: [SLOT, NOW][usize::from(opens_type)] - fuzzer.random::<u64>() % 1_000_000,
        opens_type,
        status: 0,
    }
}

#[test]
fn random_quotes_are_exact_by_the_definition_of_their_roundings() {
    many("meteora_damm_v2_quotes", |fuzzer| {
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
    for mode in 0..3 {
        let fee = SampleFee { mode: mode & 1, periods: 9, period: 100, reduction: 100, ..SampleFee::new(50_000_000) };
        let volatility = Some((40_000, 10, 40_000));
        let sample = Sample { mode, ..Sample::with_fee(SampleFee { volatility, ..fee }) };
        no_bytes_make_it_panic(&kind(), address(1), &sample.accounts());
    }
}

#[test]
fn an_instruction_is_read_as_what_it_was_built_for_and_as_nothing_else() {
    instructions_are_read_exactly(&kind(), &*Sample::new(0).decoded().unwrap());
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
    let instruction = Sample::new(0).decoded().unwrap().instruction(&swap);
    let discriminator = [0xf8, 0xc6, 0x9e, 0x91, 0xe1, 0x75, 0x87, 0xc8];
    assert_eq!(instruction.data, [discriminator, 1u64.to_le_bytes(), 2u64.to_le_bytes()].concat());
    let accounts: Vec<_> = instruction.accounts.iter().map(|account| account.pubkey).collect();
    let (kind, program) = (kind(), MeteoraDammV2::PROGRAM);
    #[rustfmt::skip]
    let expected = [
        kind.authority, address(1), swap.source, swap.destination, address(4), address(5), address(2), address(3),
        swap.user, TOKEN_PROGRAM, TOKEN_PROGRAM, program, kind.event_authority, program,
    ];
    assert_eq!(accounts, expected);
    let writable: Vec<_> = (0..14).filter(|place| instruction.accounts[*place].is_writable).collect();
    assert_eq!(writable, [1, 2, 3, 4, 5]);
    assert!(instruction.accounts.iter().all(|account| account.is_signer == (account.pubkey == swap.user)));
}

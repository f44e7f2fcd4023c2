use super::testing::address;
use super::*;

/// A kind that decodes every account of its program.
struct AnyOf(Address);

#[derive(Debug)]
struct Decoded(Address);

impl PoolKind for AnyOf {
    fn name(&self) -> &'static str {
        "any"
    }

    fn program(&self) -> Address {
        self.0
    }

    fn decode(&self, pool: Address, _: &Account) -> Result<Box<dyn Pool>, PoolError> {
        Ok(Box::new(Decoded(pool)))
    }

    fn pool_of(&self, instruction: &Instruction) -> Option<Address> {
        (instruction.program_id == self.0).then(|| address(1))
    }
}

impl Pool for Decoded {
    fn address(&self) -> Address {
        self.0
    }

    fn mints(&self) -> [Address; 2] {
        [address(11), address(12)]
    }

    fn accounts_needed(&self, direction: Direction) -> Vec<Address> {
        vec![direction.of(self.mints())[0]]
    }

    fn quote(&self, accounts: &Accounts, direction: Direction, _: BaseUnits) -> Result<Quoted, PoolError> {
        accounts.load([direction.of(self.mints())[0]])?;
        Err(PoolError::Empty)
    }

    fn instruction(&self, _: &Swap) -> Instruction {
        Instruction { program_id: address(0), accounts: Vec::new(), data: Vec::new() }
    }

    fn read(&self, _: &Instruction, _: Address) -> Option<Swap> {
        None
    }
}

fn kinds() -> PoolKinds {
    PoolKinds::new(vec![Box::new(AnyOf(address(31))), Box::new(AnyOf(address(32)))])
}

fn owned_by(owner: Address) -> Option<Account> {
    Some(Account { owner, data: vec![1, 2, 3] })
}

#[test]
fn the_owner_of_the_account_decides_the_kind() {
    let at_one = |account| kinds().decode(address(1), &[(address(1), account)].into_iter().collect());
    assert_eq!(at_one(owned_by(address(32))).unwrap().address(), address(1));
    assert_eq!(at_one(owned_by(address(33))).unwrap_err(), Unsupported::Program(address(33)).into());
    let absent = PoolError::WrongAccount { address: address(1), expected: "a pool" };
    assert_eq!(at_one(None).unwrap_err(), absent);
    let unfetched = kinds().decode(address(1), &Accounts::default()).unwrap_err();
    assert_eq!(unfetched, PoolError::NotLoaded(vec![address(1)]));
}

#[test]
fn an_instruction_of_an_unknown_program_names_no_pool() {
    let of = |program_id| Instruction { program_id, accounts: Vec::new(), data: Vec::new() };
    assert_eq!(kinds().pool_of(&of(address(32))), Some(address(1)));
    assert_eq!(kinds().pool_of(&of(address(33))), None);
}

#[test]
fn the_pool_and_the_clock_are_fetched_with_what_the_direction_needs() {
    let pool = Decoded(address(1));
    assert_eq!(pool.accounts_to_fetch(Direction::BToA), [address(1), CLOCK, address(12)]);
    assert_eq!(pool.direction(address(12)), Some(Direction::BToA));
    assert_eq!(pool.direction(address(13)), None);
}

#[test]
fn an_account_that_does_not_exist_differs_from_one_that_was_not_fetched() {
    let accounts: Accounts = [(address(1), None), (address(2), owned_by(address(9)))].into_iter().collect();
    assert_eq!(accounts.load([address(1)]), Ok([None]));
    assert_eq!(accounts.load([address(2)]).unwrap()[0].unwrap().owner, address(9));
    let missing = accounts.load([address(3), address(1), address(4)]).unwrap_err();
    assert_eq!(missing, PoolError::NotLoaded(vec![address(3), address(4)]));
    assert_eq!(accounts.clock(), Err(PoolError::NotLoaded(vec![CLOCK])));
    let no_clock: Accounts = [(CLOCK, owned_by(address(9)))].into_iter().collect();
    assert_eq!(no_clock.clock(), Err(PoolError::WrongAccount { address: CLOCK, expected: "the clock" }));
}

#[test]
fn the_clock_tells_slot_epoch_and_time() {
    let accounts: Accounts = [super::testing::clock(5, 7)].into_iter().collect();
    assert_eq!(accounts.clock(), Ok(Clock { slot: 5, epoch: 700, unix_time: 7 }));
}

#[test]
fn a_fee_on_the_input_is_shown_in_the_output_at_the_price_of_the_trade() {
    let quoted = |amount_in, fee_on_input, amount_out, fee_on_output| Quoted {
        amount_in: BaseUnits(amount_in),
        amount_out: BaseUnits(amount_out),
        fee_on_input: BaseUnits(fee_on_input),
        fee_on_output: BaseUnits(fee_on_output),
        price_impact: Decimal::ZERO,
        crossed: Vec::new(),
    };
    // 1,000 net units of input buy 500 before fees.
    assert_eq!(quoted(1_010, 10, 500, 0).fee_in_output(), BaseUnits(5));
    assert_eq!(quoted(1_011, 11, 490, 10).fee_in_output(), BaseUnits(16), "5.5 is rounded up");
    assert_eq!(quoted(1_000, 0, 490, 10).fee_in_output(), BaseUnits(10));
    assert_eq!(quoted(u64::MAX, u64::MAX, u64::MAX, u64::MAX).fee_in_output(), BaseUnits(u64::MAX));
}

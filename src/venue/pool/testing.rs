//! What the tests of the kinds share: accounts, and checks that every kind must pass.

use solana_address::Address;
use solana_instruction::{AccountMeta, Instruction};

use super::{Account, Accounts, CLOCK, Direction, Pool, PoolError, PoolKind, Quoted, Swap, TOKEN_PROGRAM};
use crate::domain::amount::BaseUnits;
use crate::fuzz::{Fuzzer, many};

/// An address that differs for each number.
pub(crate) fn address(number: u8) -> Address {
    Address::new_from_array([number; 32])
}

/// The data of an account, written field by field.
pub(crate) struct Data(pub(crate) Vec<u8>);

impl Data {
    pub(crate) fn new(length: usize, discriminator: [u8; 8]) -> Self {
        let mut data = vec![0; length];
        data[..8].copy_from_slice(&discriminator);
        Self(data)
    }

    pub(crate) fn set(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

/// The clock at that slot and time.
pub(crate) fn clock(slot: u64, unix_time: u64) -> (Address, Option<Account>) {
    let data = [slot, 0, 700, 701, unix_time].map(u64::to_le_bytes).concat();
    let owner = Address::from_str_const("Sysvar1111111111111111111111111111111111111");
    (CLOCK, Some(Account { owner, data }))
}

/// A token account.
pub(crate) fn token_account(mint: Address, authority: Address, amount: u64) -> Account {
    let data = Data(vec![0; 165]).set(0, mint).set(32, authority).set(64, amount.to_le_bytes()).set(108, [1]);
    Account { owner: TOKEN_PROGRAM, data: data.0 }
}

/// A number of a random size, with the extremes more often.
pub(crate) fn magnitude(fuzzer: &mut Fuzzer) -> u64 {
    match fuzzer.below(40) {
        0 => 0,
        1 => u64::MAX,
        _ => fuzzer.random::<u64>() >> fuzzer.below(64),
    }
}

/// Quotes the pool at that address as the engine does: decoded from the accounts of the quote.
pub(crate) fn quote(
    kind: &dyn PoolKind,
    pool: Address,
    accounts: &Accounts,
    direction: Direction,
    amount_in: u64,
) -> Result<Quoted, PoolError> {
    kind.decode(pool, accounts.existing(pool, "a pool")?)?.quote(accounts, direction, BaseUnits(amount_in))
}

/// Changes any bytes of the accounts of a quote, which must then give a quote or an error.
pub(crate) fn no_bytes_make_it_panic(kind: &dyn PoolKind, pool: Address, accounts: &[(Address, Option<Account>)]) {
    many(kind.name(), |fuzzer| {
        let mut accounts = accounts.to_vec();
        for _ in 0..fuzzer.below(4) {
            let chosen = fuzzer.below(accounts.len());
            mangle(fuzzer, &mut accounts[chosen].1);
        }
        let accounts = accounts.into_iter().filter(|_| fuzzer.below(50) > 0).collect();
        let direction = Direction::ALL[fuzzer.below(2)];
        let amount_in = magnitude(fuzzer);
        let quoted = quote(kind, pool, &accounts, direction, amount_in);
        assert!(quoted.as_ref().is_ok_and(|quoted| quoted.amount_out.0 > 0) || quoted.is_err());
        quoted.is_ok()
    });
}

fn mangle(fuzzer: &mut Fuzzer, account: &mut Option<Account>) {
    let Some(Account { owner, data }) = account else { return };
    match fuzzer.below(20) {
        0 => *account = None,
        1 => *owner = address(fuzzer.random()),
        2 => data.truncate(fuzzer.below(data.len() + 1)),
        3 => data.push(fuzzer.random()),
        _ if data.is_empty() => {}
        _ => {
            let (start, length) = (fuzzer.below(data.len()), 1 << fuzzer.below(5));
            let fill = match fuzzer.below(3) {
                0 => Some(0),
                1 => Some(0xff),
                _ => None,
            };
            data[start..].iter_mut().take(length).for_each(|byte| *byte = fill.unwrap_or_else(|| fuzzer.random()));
        }
    }
}

/// Changes each bit of an instruction, each flag and the number of its accounts: it must be refused or read as
/// something else.
pub(crate) fn instructions_are_read_exactly(kind: &dyn PoolKind, pool: &dyn Pool) {
    for direction in Direction::ALL {
        let swap = Swap {
            direction,
            amount_in: BaseUnits(1_234_567),
            min_amount_out: BaseUnits(89_012),
            user: address(201),
            source: address(202),
            destination: address(203),
            crossed: Vec::new(),
        };
        let mint_in = direction.of(pool.mints())[0];
        let instruction = pool.instruction(&swap);
        assert_eq!(pool.read(&instruction, mint_in), Some(swap.clone()));
        assert_eq!(kind.pool_of(&instruction), Some(pool.address()));
        assert_eq!(pool.read(&instruction, address(204)), None, "a mint that the pool does not have");

        let mut refused = 0;
        for changed in changes(&instruction) {
            let read = pool.read(&changed, mint_in);
            assert_ne!(read, Some(swap.clone()), "{changed:?}");
            assert!(read.is_none_or(|read| pool.instruction(&read) == changed));
            // Finding the pool of an instruction never panics either.
            refused += u32::from(kind.pool_of(&changed).is_none());
        }
        assert!(refused > 0);
    }
}

fn changes(instruction: &Instruction) -> Vec<Instruction> {
    let bits = |length: usize| (0..length * 8).map(|bit| (bit / 8, 1 << (bit % 8)));
    let mut changes = Vec::new();
    let mut change = |edit: &dyn Fn(&mut Instruction)| {
        let mut changed = instruction.clone();
        edit(&mut changed);
        changes.push(changed);
    };
    for (byte, bit) in bits(instruction.data.len()) {
        change(&|changed| changed.data[byte] ^= bit);
    }
    for (byte, bit) in bits(32) {
        change(&|changed| changed.program_id = flipped(changed.program_id, byte, bit));
        for place in 0..instruction.accounts.len() {
            change(&|changed| {
                let account = &mut changed.accounts[place];
                account.pubkey = flipped(account.pubkey, byte, bit);
            });
        }
    }
    for place in 0..instruction.accounts.len() {
        change(&|changed| changed.accounts[place].is_signer ^= true);
        change(&|changed| changed.accounts[place].is_writable ^= true);
        change(&|changed| _ = changed.accounts.remove(place));
        change(&|changed| changed.accounts.truncate(place));
        change(&|changed| changed.accounts.insert(place, AccountMeta::new_readonly(address(205), false)));
    }
    for length in 0..instruction.data.len() {
        change(&|changed| changed.data.truncate(length));
    }
    change(&|changed| changed.data.push(0));
    change(&|changed| changed.accounts.push(AccountMeta::new(address(205), false)));
    changes
}

fn flipped(address: Address, byte: usize, bit: u8) -> Address {
    let mut bytes = address.to_bytes();
    bytes[byte] ^= bit;
    Address::new_from_array(bytes)
}

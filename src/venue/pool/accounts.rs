//! Accounts as a node returned them, and safe reading of their bytes.

use std::collections::HashMap;

use solana_address::Address;

use super::error::{PoolError, Unsupported};

/// The address of the clock. It is fetched with each pool and tells the slot and the time of the quote.
pub const CLOCK: Address = Address::from_str_const("SysvarC1ock11111111111111111111111111111111");
/// The classic token program.
pub const TOKEN_PROGRAM: Address = Address::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");

const SYSVAR: Address = Address::from_str_const("Sysvar1111111111111111111111111111111111111");
const CLOCK_LENGTH: usize = 40;
const TOKEN_ACCOUNT_LENGTH: usize = 165;
const TOKEN_ACCOUNT_USABLE: u8 = 1;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The program that owns it.
    pub owner: Address,
    /// Its data.
    pub data: Vec<u8>,
}

impl Account {
    /// The fields of an account of that program, discriminator and length. The owner is compared first: different
    /// programs use the same discriminators.
    pub fn fields(&self, program: Address, discriminator: [u8; 8], length: usize) -> Option<Fields<'_>> {
        let is_expected = self.owner == program && self.data.len() == length && self.data.starts_with(&discriminator);
        is_expected.then_some(Fields(&self.data))
    }
}

/// The data of an account whose length was checked. All numbers are little-endian.
///
/// The offsets are constants below that length, so that reading cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The bytes at an offset.
    pub fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("the slice has N bytes")
    }

    /// The byte at an offset.
    pub fn u8(self, at: usize) -> u8 {
        self.0[at]
    }

    /// The number at an offset.
    pub fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    /// The number at an offset.
    pub fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    /// The number at an offset.
    pub fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    /// The number at an offset.
    pub fn u128(self, at: usize) -> u128 {
        u128::from_le_bytes(self.bytes(at))
    }

    /// The address at an offset.
    pub fn address(self, at: usize) -> Address {
        Address::new_from_array(self.bytes(at))
    }
}

/// The accounts of one answer of a node, so of one slot.
///
/// That an account does not exist is known too, and differs from an account that was not fetched.
#[derive(Clone, Debug, Default)]
pub struct Accounts(HashMap<Address, Option<Account>>);

impl FromIterator<(Address, Option<Account>)> for Accounts {
    fn from_iter<T: IntoIterator<Item = (Address, Option<Account>)>>(accounts: T) -> Self {
        Self(accounts.into_iter().collect())
    }
}

impl Accounts {
    /// The accounts at those addresses, `None` for one that does not exist. Fails with all that were not fetched.
    pub fn load<const N: usize>(&self, addresses: [Address; N]) -> Result<[Option<&Account>; N], PoolError> {
        let missing: Vec<_> = addresses.into_iter().filter(|address| !self.0.contains_key(address)).collect();
        if !missing.is_empty() {
            return Err(PoolError::NotLoaded(missing));
        }
        Ok(addresses.map(|address| self.0.get(&address).and_then(Option::as_ref)))
    }

    /// The account at an address; `expected` says what it should be.
    pub fn existing(&self, address: Address, expected: &'static str) -> Result<&Account, PoolError> {
        let [account] = self.load([address])?;
        account.ok_or(PoolError::WrongAccount { address, expected })
    }

    /// The clock.
    pub fn clock(&self) -> Result<Clock, PoolError> {
        let expected = "the clock";
        let account = self.existing(CLOCK, expected)?;
        if account.owner != SYSVAR || account.data.len() != CLOCK_LENGTH {
            return Err(PoolError::WrongAccount { address: CLOCK, expected });
        }
        let fields = Fields(&account.data);
        // A negative time does not occur; the programs read it as a number without sign too.
        Ok(Clock { slot: fields.u64(0), epoch: fields.u64(16), unix_time: fields.u64(32) })
    }

    /// The balance of a token account that holds that mint and belongs to that authority.
    pub fn vault_balance(&self, vault: Address, mint: Address, authority: Address) -> Result<u64, PoolError> {
        let account = self.existing(vault, "a vault")?;
        let fields = Fields(&account.data);
        let is_usable = account.owner == TOKEN_PROGRAM
            && account.data.len() == TOKEN_ACCOUNT_LENGTH
            && fields.address(0) == mint
            && fields.address(32) == authority
            && fields.u8(108) == TOKEN_ACCOUNT_USABLE;
        if !is_usable {
            return Err(Unsupported::Vault(vault).into());
        }
        Ok(fields.u64(64))
    }
}

/// The time of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The slot.
    pub slot: u64,
    /// The epoch.
    pub epoch: u64,
    /// The time in seconds since 1970.
    pub unix_time: u64,
}

//! The account of a pool.

use solana_address::Address;

use super::fee::Fee;
use super::quote::Curve;
use crate::venue::pool::{Account, Clock, Direction, Opening, PoolError, Unsupported};

const DISCRIMINATOR: [u8; 8] = [0xf1, 0x9a, 0x6d, 0x04, 0x11, 0xb1, 0x6d, 0xbc];
const LENGTH: usize = 1112;

#[derive(Debug)]
pub(super) struct State {
    pub(super) mints: [Address; 2],
    pub(super) vaults: [Address; 2],
    pub(super) enabled: bool,
    /// Without liquidity the program cannot share out the fees, and fails, whatever the reserves are.
    pub(super) has_liquidity: bool,
    opening: Opening,
    pub(super) fee: Fee,
    pub(super) curve: Curve,
    /// Whether all fees are taken in token B. Otherwise they are taken from the output.
    fee_in_b_only: bool,
}

impl State {
    pub(super) fn decode(program: Address, address: Address, account: &Account) -> Result<Self, PoolError> {
        let fields = account
            .fields(program, DISCRIMINATOR, LENGTH)
            .ok_or(PoolError::WrongAccount { address, expected: "a pool of Meteora DAMM v2" })?;
        if [482, 483].map(|at| fields.u8(at)) != [0; 2] {
            return Err(Unsupported::TokenProgram.into());
        }
        let opens = fields.u64(472);
        let opening = match fields.u8(480) {
            0 => Opening::Slot(opens),
            1 => Opening::UnixTime(opens),
            value => return Err(unknown("the type of the activation", value)),
        };
        let range = || Curve::Range {
            liquidity: fields.u128(360),
            sqrt_price: fields.u128(456),
            sqrt_min: fields.u128(424),
            sqrt_max: fields.u128(440),
        };
        let (curve, fee_in_b_only) = match fields.u8(484) {
            0 => (range(), false),
            1 => (range(), true),
            2 => (Curve::Product { reserves: [fields.u64(680), fields.u64(688)] }, true),
            value => return Err(unknown("the mode of the fee", value)),
        };
        Ok(Self {
            mints: [fields.address(168), fields.address(200)],
            vaults: [fields.address(232), fields.address(264)],
            enabled: fields.u8(481) == 0,
            has_liquidity: fields.u128(360) > 0,
            opening,
            fee: Fee::decode(fields)?,
            curve,
            fee_in_b_only,
        })
    }

    /// How long the pool is open, in slots or seconds.
    pub(super) fn open_for(&self, clock: Clock) -> Result<u64, PoolError> {
        let open_for = match self.opening {
            Opening::Slot(opens) => clock.slot.checked_sub(opens),
            Opening::UnixTime(opens) => clock.unix_time.checked_sub(opens),
        };
        open_for.ok_or(PoolError::NotOpen(self.opening))
    }

    /// Whether the fee of a swap in that direction is taken from the input.
    pub(super) fn fee_on_input(&self, direction: Direction) -> bool {
        self.fee_in_b_only && direction == Direction::BToA
    }
}

fn unknown(field: &'static str, value: u8) -> PoolError {
    Unsupported::Unknown { field, value: value.into() }.into()
}

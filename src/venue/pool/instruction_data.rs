//! The data of an instruction that swaps an exact input: a discriminator of 8 bytes, the input, and the least output.

use super::Swap;
use crate::domain::amount::BaseUnits;

/// The data of a swap.
pub fn exact_in_data(discriminator: [u8; 8], swap: &Swap) -> Vec<u8> {
    [discriminator, swap.amount_in.0.to_le_bytes(), swap.min_amount_out.0.to_le_bytes()].concat()
}

/// The input and the least output, if the data has exactly this form.
pub fn exact_in_amounts(data: &[u8], discriminator: [u8; 8]) -> Option<(BaseUnits, BaseUnits)> {
    let (amounts, rest) = data.strip_prefix(&discriminator)?.as_chunks::<8>();
    match (amounts, rest) {
        ([amount_in, least], []) => Some((units(*amount_in), units(*least))),
        _ => None,
    }
}

fn units(bytes: [u8; 8]) -> BaseUnits {
    BaseUnits(u64::from_le_bytes(bytes))
}

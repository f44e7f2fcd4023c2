//! The pools whose swaps pass the firewall.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use solana_address::Address;
use solana_instruction::Instruction;

use super::{DecodedSwap, SwapReader};
use crate::venue::pool::{Pool, PoolKinds};

/// The pools that were decoded from the accounts of known programs. A swap of any other pool is refused.
pub struct KnownPools {
    kinds: PoolKinds,
    pools: RwLock<HashMap<Address, Arc<dyn Pool>>>,
}

impl KnownPools {
    /// No pool yet, of these kinds.
    pub fn new(kinds: PoolKinds) -> Self {
        Self { kinds, pools: RwLock::default() }
    }

    /// Adds a pool that a venue trades, or replaces it by a later state. The venues decide how many there are.
    pub fn learn(&self, pool: Arc<dyn Pool>) {
        self.pools.write().unwrap_or_else(PoisonError::into_inner).insert(pool.address(), pool);
    }
}

impl SwapReader for KnownPools {
    fn read(&self, instruction: &Instruction, mint_in: Address) -> Option<DecodedSwap> {
        let address = self.kinds.pool_of(instruction)?;
        let pool = self.pools.read().unwrap_or_else(PoisonError::into_inner).get(&address)?.clone();
        let swap = pool.read(instruction, mint_in)?;
        let [_, mint_out] = swap.direction.of(pool.mints());
        Some(DecodedSwap {
            user: swap.user,
            source: swap.source,
            destination: swap.destination,
            mint_out,
            amount_in: swap.amount_in,
            min_amount_out: swap.min_amount_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solana::firewall::{Expected, Refusal, inspect};
    use crate::solana::transaction::testing::{BLOCKHASH, BUDGET, Shape, intent};
    use crate::solana::transaction::{SwapIntent, compile, plan};
    use crate::venue::pool::{Account, PoolKind, Swap, TOKEN_PROGRAM};
    use crate::venue::raydium_cpmm::RaydiumCpmm;

    fn kind() -> RaydiumCpmm {
        RaydiumCpmm::new(RaydiumCpmm::MAINNET)
    }

    /// A pool of Raydium for the tokens of that swap.
    fn pool(intent: &SwapIntent) -> Arc<dyn Pool> {
        let mut data = vec![0; 637];
        let mut set = |at: usize, bytes: &[u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, &[0xf7, 0xed, 0xe3, 0xf5, 0xd7, 0xc3, 0xde, 0x46]);
        for (at, address) in [(8, 2), (72, 3), (104, 4), (296, 5)] {
            set(at, &[address; 32]);
        }
        set(168, intent.token_in.mint.as_array());
        set(200, intent.token_out.mint.as_array());
        set(232, TOKEN_PROGRAM.as_array());
        set(264, TOKEN_PROGRAM.as_array());
        let account = Account { owner: RaydiumCpmm::MAINNET, data };
        kind().decode(Address::new_from_array([1; 32]), &account).unwrap().into()
    }

    fn verdict(known: &KnownPools, intent: &SwapIntent, pool: &dyn Pool) -> Result<(), Refusal> {
        let swap = pool.instruction(&Swap {
            direction: pool.direction(intent.token_in.mint).unwrap(),
            amount_in: intent.amount_in,
            min_amount_out: intent.min_amount_out,
            user: intent.wallet,
            source: intent.source(),
            destination: intent.destination(),
            crossed: Vec::new(),
        });
        let message = compile(&intent.wallet, &plan(intent, swap, BUDGET), BLOCKHASH).unwrap();
        inspect(&message, &Expected { intent, blockhash: BLOCKHASH, max_fee: 10_000 }, known)
    }

    #[test]
    fn a_swap_of_a_known_pool_passes_and_one_of_another_pool_is_refused() {
        for shape in [Shape::SellNative, Shape::BuyNative, Shape::Tokens] {
            let intent = intent(shape);
            let (known, pool) = (KnownPools::new(PoolKinds::new(vec![Box::new(kind())])), pool(&intent));
            let refused = verdict(&known, &intent, &*pool).unwrap_err();
            assert!(matches!(refused, Refusal::Instruction { expected: "a swap of a known pool", .. }), "{refused}");
            known.learn(pool.clone());
            assert_eq!(verdict(&known, &intent, &*pool), Ok(()), "{shape:?}");
        }
    }
}

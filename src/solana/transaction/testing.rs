//! Swaps for tests, in a pool that does not exist.

use ed25519_dalek::SigningKey;
use solana_address::Address;
use solana_hash::Hash;
use solana_instruction::{AccountMeta, Instruction};
use uuid::Uuid;

use super::{Budget, NATIVE_MINT, Seed, SwapIntent, TokenMint, TokenProgram, compile, plan};
use crate::domain::amount::BaseUnits;
use crate::domain::id::OrderId;

/// The kinds of swaps that need different instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    SellNative,
    BuyNative,
    Tokens,
    Token2022,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] = [Self::SellNative, Self::BuyNative, Self::Tokens, Self::Token2022];
}

/// The program of the pool.
pub(crate) const SWAP_PROGRAM: Address = Address::new_from_array([90; 32]);
const AUTHORITY: Address = Address::new_from_array([91; 32]);
const POOL: Address = Address::new_from_array([92; 32]);
const VAULTS: [Address; 2] = [Address::new_from_array([93; 32]), Address::new_from_array([94; 32])];
/// The first bytes of its swap.
pub(crate) const SWAP: [u8; 8] = *b"swapswap";

pub(crate) const BLOCKHASH: Hash = Hash::new_from_array([5; 32]);
pub(crate) const BUDGET: Budget = Budget { units: 100_000, price: 20_000 };

pub(crate) fn intent(shape: Shape) -> SwapIntent {
    let sol = TokenMint { mint: NATIVE_MINT, program: TokenProgram::Token };
    let token = |mint| TokenMint { mint: Address::new_from_array([mint; 32]), program: TokenProgram::Token };
    let (token_in, token_out) = match shape {
        Shape::SellNative => (sol, token(81)),
        Shape::BuyNative => (token(81), sol),
        Shape::Tokens => (token(81), token(82)),
        Shape::Token2022 => (token(81), TokenMint { program: TokenProgram::Token2022, ..token(83) }),
    };
    SwapIntent {
        wallet: Address::new_from_array(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()),
        token_in,
        token_out,
        amount_in: BaseUnits(1_234_567_890),
        min_amount_out: BaseUnits(98_765),
        seed: Seed::of(OrderId(Uuid::from_u128(7)), 1),
        token_account_rent: 1_488_440,
    }
}

/// The swap of that intent, in the layout of a constant product pool.
pub(crate) fn swap(intent: &SwapIntent) -> Instruction {
    swap_between(intent, [intent.wallet, intent.source(), intent.destination()])
}

pub(crate) fn swap_between(intent: &SwapIntent, [user, source, destination]: [Address; 3]) -> Instruction {
    let (token_in, token_out) = (intent.token_in, intent.token_out);
    let accounts = vec![
        AccountMeta::new_readonly(user, true),
        AccountMeta::new_readonly(AUTHORITY, false),
        AccountMeta::new(POOL, false),
        AccountMeta::new(source, false),
        AccountMeta::new(destination, false),
        AccountMeta::new(VAULTS[0], false),
        AccountMeta::new(VAULTS[1], false),
        AccountMeta::new_readonly(token_in.program.id(), false),
        AccountMeta::new_readonly(token_out.program.id(), false),
        AccountMeta::new_readonly(token_in.mint, false),
        AccountMeta::new_readonly(token_out.mint, false),
    ];
    let amounts = [intent.amount_in, intent.min_amount_out].map(|amount| amount.0.to_le_bytes());
    Instruction { program_id: SWAP_PROGRAM, accounts, data: [SWAP, amounts[0], amounts[1]].concat() }
}

pub(crate) fn planned(shape: Shape) -> Vec<Instruction> {
    let intent = intent(shape);
    plan(&intent, swap(&intent), BUDGET)
}

pub(crate) fn message(shape: Shape) -> Vec<u8> {
    compile(&intent(shape).wallet, &planned(shape), BLOCKHASH).unwrap()
}

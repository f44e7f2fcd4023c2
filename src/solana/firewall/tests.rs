//! Directed cases: messages that a faulty or taken over part could build.

use solana_instruction::AccountMeta;
use solana_message::v0::MessageAddressTableLookup;
use solana_message::{VersionedMessage, v0};
use solana_system_interface::instruction as system;
use spl_token_interface::instruction as token;

use super::*;
use crate::solana::transaction::testing::{
    BLOCKHASH, BUDGET, SWAP, SWAP_PROGRAM, Shape, intent, message, planned, swap, swap_between,
};
use crate::solana::transaction::{Seed, TokenMint, compile, plan};

const MAX_FEE: u64 = 10_000;
const THIEF: Address = Address::new_from_array([66; 32]);

/// Reads the swaps of the pool of the tests.
pub(crate) struct StandIn;

impl SwapReader for StandIn {
    fn read(&self, instruction: &Instruction, mint_in: Address) -> Option<DecodedSwap> {
        let ([discriminator, amount_in, floor], rest) = instruction.data.as_chunks::<8>() else { return None };
        let account = |place: usize| instruction.accounts.get(place).map(|account| account.pubkey);
        let program = |place: usize| TokenProgram::from_id(account(place)?);
        let read = SwapIntent {
            wallet: account(0)?,
            token_in: TokenMint { mint: account(9)?, program: program(7)? },
            token_out: TokenMint { mint: account(10)?, program: program(8)? },
            amount_in: BaseUnits(u64::from_le_bytes(*amount_in)),
            min_amount_out: BaseUnits(u64::from_le_bytes(*floor)),
            ..intent(Shape::Tokens)
        };
        let [source, destination] = [account(3)?, account(4)?];
        let is_exact = swap_between(&read, [read.wallet, source, destination]) == *instruction
            && rest.is_empty()
            && *discriminator == SWAP
            && read.token_in.mint == mint_in;
        is_exact.then_some(DecodedSwap {
            user: read.wallet,
            source,
            destination,
            mint_out: read.token_out.mint,
            amount_in: read.amount_in,
            min_amount_out: read.min_amount_out,
        })
    }
}

pub(super) fn inspected(message: &[u8], intent: &SwapIntent) -> Result<(), Refusal> {
    inspect(message, &Expected { intent, blockhash: BLOCKHASH, max_fee: MAX_FEE }, &StandIn)
}

/// The verdict on the instructions of that swap after a change.
fn changed(shape: Shape, change: impl FnOnce(&mut Vec<Instruction>)) -> Result<(), Refusal> {
    let mut instructions = planned(shape);
    change(&mut instructions);
    inspected(&compile(&intent(shape).wallet, &instructions, BLOCKHASH).unwrap(), &intent(shape))
}

/// The verdict on a message that was built for another intent.
fn built_for(shape: Shape, other: impl FnOnce(&mut SwapIntent)) -> Result<(), Refusal> {
    let mut wrong = intent(shape);
    other(&mut wrong);
    let instructions = plan(&wrong, swap(&wrong), BUDGET);
    inspected(&compile(&wrong.wallet, &instructions, BLOCKHASH).unwrap(), &intent(shape))
}

fn place_of_swap(instructions: &[Instruction]) -> usize {
    instructions.iter().position(|instruction| instruction.program_id == SWAP_PROGRAM).unwrap()
}

fn wallet() -> Address {
    intent(Shape::Tokens).wallet
}

#[test]
fn the_ordered_swap_passes() {
    for shape in Shape::ALL {
        assert_eq!(inspected(&message(shape), &intent(shape)), Ok(()), "{shape:?}");
    }
}

#[test]
fn a_further_instruction_is_refused_wherever_it_is() {
    let (temporary, nonce) = (intent(Shape::SellNative).temporary(), Address::new_from_array([67; 32]));
    let program = TokenProgram::Token.id();
    let further = [
        system::transfer(&wallet(), &THIEF, 1),
        system::advance_nonce_account(&nonce, &wallet()),
        system::assign(&wallet(), &THIEF),
        token::approve(&program, &intent(Shape::Tokens).source(), &THIEF, &wallet(), &[], u64::MAX).unwrap(),
        token::close_account(&program, &intent(Shape::Tokens).source(), &THIEF, &wallet(), &[]).unwrap(),
        token::sync_native(&program, &temporary).unwrap(),
        Instruction { program_id: SYSTEM, accounts: Vec::new(), data: Vec::new() },
    ];
    for shape in Shape::ALL {
        for instruction in &further {
            for place in 0..=planned(shape).len() {
                let verdict = changed(shape, |instructions| instructions.insert(place, instruction.clone()));
                assert!(verdict.is_err(), "{shape:?}, {place}: {instruction:?}");
            }
        }
    }
    let appended = changed(Shape::Tokens, |instructions| instructions.push(further[0].clone()));
    assert_eq!(appended, Err(Refusal::Further(4)));
}

#[test]
fn a_missing_repeated_or_moved_instruction_is_refused() {
    for shape in Shape::ALL {
        for place in 0..planned(shape).len() {
            assert!(changed(shape, |instructions| drop(instructions.remove(place))).is_err(), "{shape:?}, {place}");
            let repeated = changed(shape, |instructions| instructions.insert(place, instructions[place].clone()));
            assert!(repeated.is_err(), "{shape:?}, {place}");
            for other in 0..place {
                assert!(changed(shape, |instructions| instructions.swap(place, other)).is_err(), "{shape:?}, {place}");
            }
        }
    }
}

#[test]
fn another_amount_floor_destination_or_source_is_refused() {
    for shape in Shape::ALL {
        let swap_of = |change: &dyn Fn(&mut Instruction)| {
            changed(shape, |instructions| {
                let place = place_of_swap(instructions);
                change(&mut instructions[place]);
            })
        };
        let amount = |at: usize, units: u64| {
            swap_of(&|swap| swap.data[at..at + 8].copy_from_slice(&units.to_le_bytes())).unwrap_err()
        };
        let (sold, floor) = (intent(shape).amount_in.0, intent(shape).min_amount_out.0);
        for refusal in [amount(16, 0), amount(16, floor - 1), amount(16, floor + 1), amount(8, sold + 1)] {
            assert!(matches!(refusal, Refusal::Swap(_)), "{refusal}");
        }
        for place in [3, 4] {
            let refusal = swap_of(&|swap| swap.accounts[place].pubkey = THIEF).unwrap_err();
            assert!(matches!(refusal, Refusal::Swap(_)), "{refusal}");
        }
        // The same data for another program, and for another pool.
        let other_program = swap_of(&|swap| swap.program_id = THIEF).unwrap_err();
        assert!(matches!(other_program, Refusal::Instruction { expected: "a swap of a known pool", .. }));
        assert!(swap_of(&|swap| swap.accounts[2].pubkey = THIEF).is_err());
        assert!(swap_of(&|swap| swap.accounts.push(AccountMeta::new(THIEF, false))).is_err());
    }
}

#[test]
fn a_message_for_another_intent_is_refused() {
    for shape in Shape::ALL {
        let thief = TokenMint { mint: THIEF, program: TokenProgram::Token };
        assert!(built_for(shape, |intent| intent.wallet = THIEF).is_err());
        assert!(built_for(shape, |intent| intent.min_amount_out.0 = 0).is_err());
        assert!(built_for(shape, |intent| intent.amount_in.0 += 1).is_err());
        if shape != Shape::SellNative {
            assert!(built_for(shape, |intent| intent.token_in = thief).is_err());
        }
        if shape != Shape::BuyNative {
            assert!(built_for(shape, |intent| intent.token_out = thief).is_err());
            assert!(
                built_for(shape, |intent| {
                    let [token, token_2022] = TokenProgram::ALL;
                    let program = &mut intent.token_out.program;
                    *program = if *program == token { token_2022 } else { token };
                })
                .is_err()
            );
        }
    }
    for shape in [Shape::SellNative, Shape::BuyNative] {
        let other = Seed::of(crate::domain::id::OrderId(uuid::Uuid::from_u128(7)), 2);
        assert!(built_for(shape, |intent| intent.seed = other).is_err(), "the account of another attempt");
        assert!(built_for(shape, |intent| intent.token_account_rent += 1).is_err(), "other lamports");
    }
}

#[test]
fn the_temporary_account_belongs_to_the_wallet_and_ends_there() {
    for shape in [Shape::SellNative, Shape::BuyNative] {
        let step = |place: usize, change: &dyn Fn(&mut Instruction)| {
            changed(shape, |instructions| change(&mut instructions[place])).unwrap_err()
        };
        let end = planned(shape).len() - 1;
        let elsewhere = step(end, &|close| close.accounts[1].pubkey = THIEF);
        assert!(matches!(elsewhere, Refusal::Instruction { expected: "the end of the temporary account", .. }));
        step(end, &|close| close.accounts[0].pubkey = intent(Shape::Tokens).source());
        let owned = step(3, &|initialize| initialize.data[1..].copy_from_slice(THIEF.as_array()));
        let expected = "the initialisation of the temporary account";
        assert_eq!(owned, Refusal::Instruction { place: 3, expected });
        step(3, &|initialize| initialize.accounts[1].pubkey = THIEF);
        step(2, &|create| create.accounts[1].pubkey = THIEF);
        let owner = planned(shape)[2].data.len() - 32;
        step(2, &|create| create.data[owner..].copy_from_slice(THIEF.as_array()));
    }
}

#[test]
fn a_fee_above_the_limit_is_refused() {
    let with = |budget: Budget| {
        let (intent, swap) = (intent(Shape::Tokens), swap(&intent(Shape::Tokens)));
        inspected(&compile(&intent.wallet, &plan(&intent, swap, budget), BLOCKHASH).unwrap(), &intent)
    };
    let most = Budget { units: 100_000, price: 50_000 };
    assert_eq!((most.fee(), with(most)), (MAX_FEE, Ok(())));
    let more = Budget { price: 50_001, ..most };
    assert_eq!(with(more), Err(Refusal::Fee { fee: MAX_FEE + 1, max: MAX_FEE }));
    assert!(with(Budget { units: u32::MAX, price: u64::MAX }).is_err());
    // A further budget instruction does not raise it.
    let raised = solana_compute_budget_interface::ComputeBudgetInstruction::set_compute_unit_price(u64::MAX);
    assert!(changed(Shape::Tokens, |instructions| instructions.push(raised)).is_err());
}

#[test]
fn another_blockhash_is_refused() {
    let other = Hash::new_from_array([6; 32]);
    let message = compile(&wallet(), &planned(Shape::Tokens), other).unwrap();
    assert_eq!(inspected(&message, &intent(Shape::Tokens)), Err(Refusal::Blockhash(other)));
}

/// The verdict on the compiled message after a change.
fn recompiled(shape: Shape, change: impl FnOnce(&mut v0::Message)) -> Result<(), Refusal> {
    let Ok(VersionedMessage::V0(mut message)) = wincode::deserialize_exact(&message(shape)) else { panic!() };
    change(&mut message);
    inspected(&message.serialize(), &intent(shape))
}

#[test]
fn a_lookup_table_is_refused() {
    let table = MessageAddressTableLookup { account_key: THIEF, writable_indexes: vec![0], readonly_indexes: vec![] };
    let verdict = recompiled(Shape::Tokens, |message| message.address_table_lookups.push(table));
    assert_eq!(verdict, Err(Refusal::LookupTable));
}

#[test]
fn no_account_gets_more_access_than_the_swap_needs() {
    for shape in Shape::ALL {
        let last = recompiled(shape, |message| message.header.num_readonly_unsigned_accounts -= 1);
        assert!(last.is_err(), "a read-only account became writable");
        let first = recompiled(shape, |message| message.header.num_readonly_unsigned_accounts += 1);
        assert!(first.is_err(), "a writable account became read-only");
        let signer = recompiled(shape, |message| message.header.num_required_signatures += 1);
        assert_eq!(signer, Err(Refusal::Signatures(2)));
        for place in [1, 3] {
            let extra = recompiled(shape, |message| {
                // A new account in the middle moves all indexes behind it.
                message.account_keys.insert(place, THIEF);
                for instruction in &mut message.instructions {
                    let indexes = instruction.accounts.iter_mut().chain([&mut instruction.program_id_index]);
                    indexes.filter(|index| usize::from(**index) >= place).for_each(|index| *index += 1);
                }
            });
            assert_eq!(extra, Err(Refusal::UnusedAccount(THIEF)));
        }
        let twice = recompiled(shape, |message| message.account_keys[2] = message.account_keys[1]);
        assert!(twice.is_err());
    }
}

#[test]
fn bytes_that_are_no_message_of_version_0_are_refused() {
    let good = message(Shape::Tokens);
    let refused =
        |bytes: &[u8]| assert!(matches!(inspected(bytes, &intent(Shape::Tokens)), Err(Refusal::Malformed(_))));
    refused(b"");
    refused(&good[1..]);
    refused(&good[..good.len() - 1]);
    refused(&[&good[..], &[0]].concat());
    refused(&vec![0; 5_000]);
    let legacy =
        solana_message::legacy::Message::new_with_blockhash(&planned(Shape::Tokens), Some(&wallet()), &BLOCKHASH);
    refused(&legacy.serialize());
}

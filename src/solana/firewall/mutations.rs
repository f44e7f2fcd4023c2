//! Random changes to messages: bytes flipped, instructions moved, repeated, removed and appended, accounts replaced,
//! amounts changed. What passes must be, byte by byte, the message of the intent with a budget within the limit.

use solana_instruction::AccountMeta;

use super::tests::inspected;
use super::*;
use crate::fuzz::{Fuzzer, many};
use crate::solana::transaction::testing::{BLOCKHASH, Shape, intent, message, planned, swap};
use crate::solana::transaction::{compile, plan};

#[test]
fn a_changed_message_passes_only_if_it_still_is_the_ordered_swap() {
    many("changed messages", |fuzzer| {
        let shape = Shape::ALL[fuzzer.below(4)];
        let Some(bytes) =
            (if fuzzer.below(2) == 0 { Some(changed_bytes(fuzzer, shape)) } else { rebuilt(fuzzer, shape) })
        else {
            return false;
        };
        let passes = inspected(&bytes, &intent(shape)).is_ok();
        assert_eq!(passes, is_ordered(&bytes, shape), "{shape:?}: {bytes:?}");
        passes
    });
}

/// Whether the bytes are the message of the intent with any budget within the limit: built again, not read.
fn is_ordered(bytes: &[u8], shape: Shape) -> bool {
    let intent = intent(shape);
    let Some(budget) = budget_of(bytes) else { return false };
    budget.fee() <= 10_000
        && compile(&intent.wallet, &plan(&intent, swap(&intent), budget), BLOCKHASH).unwrap() == bytes
}

/// The budget, wherever the bytes have one. Its instructions have no accounts, so their data follows a length of 0.
fn budget_of(bytes: &[u8]) -> Option<Budget> {
    let after = |start: &[u8], length: usize| {
        let at = bytes.windows(start.len()).position(|window| window == start)? + start.len();
        bytes.get(at..at + length)
    };
    let units = after(&[0, 5, 2], 4)?.try_into().ok()?;
    let price = after(&[0, 9, 3], 8)?.try_into().ok()?;
    Some(Budget { units: u32::from_le_bytes(units), price: u64::from_le_bytes(price) })
}

fn changed_bytes(fuzzer: &mut Fuzzer, shape: Shape) -> Vec<u8> {
    let mut bytes = message(shape);
    for _ in 0..fuzzer.below(3) {
        let at = fuzzer.below(bytes.len());
        match fuzzer.below(6) {
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, fuzzer.random()),
            2 => bytes.truncate(at),
            3 => {
                let other = fuzzer.below(bytes.len());
                bytes.swap(at, other);
            }
            _ => bytes[at] ^= 1 << fuzzer.below(8),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// The message of changed instructions; `None` if they do not fit.
fn rebuilt(fuzzer: &mut Fuzzer, shape: Shape) -> Option<Vec<u8>> {
    let mut instructions = planned(shape);
    for _ in 0..=fuzzer.below(2) {
        change(fuzzer, &mut instructions);
    }
    let blockhash = if fuzzer.below(50) == 0 { Hash::new_from_array(fuzzer.random()) } else { BLOCKHASH };
    compile(&intent(shape).wallet, &instructions, blockhash).ok()
}

fn change(fuzzer: &mut Fuzzer, instructions: &mut Vec<Instruction>) {
    let place = fuzzer.below(instructions.len().max(1));
    let other = foreign(fuzzer);
    match fuzzer.below(9) {
        0 => instructions.insert(place, other),
        1 => instructions.push(other),
        _ if instructions.is_empty() => {}
        2 => drop(instructions.remove(place)),
        3 => instructions.insert(place, instructions[place].clone()),
        4 => {
            let with = fuzzer.below(instructions.len());
            instructions.swap(place, with);
        }
        5 => instructions[place].program_id = other.program_id,
        6 => change_data(fuzzer, &mut instructions[place].data),
        _ => {
            let known = known_account(fuzzer, instructions);
            change_accounts(fuzzer, &mut instructions[place].accounts, known);
        }
    }
}

fn change_data(fuzzer: &mut Fuzzer, data: &mut Vec<u8>) {
    match fuzzer.below(4) {
        0 => data.push(fuzzer.random()),
        _ if data.is_empty() => {}
        1 => data.truncate(fuzzer.below(data.len())),
        // Mostly an amount: each layout ends with one, or with an address.
        2 => {
            let start = data.len().saturating_sub(8);
            let number: u64 = fuzzer.random::<u64>() >> fuzzer.below(64);
            data.iter_mut().skip(start).zip(number.to_le_bytes()).for_each(|(byte, new)| *byte = new);
        }
        _ => {
            let at = fuzzer.below(data.len());
            data[at] ^= 1 << fuzzer.below(8);
        }
    }
}

fn change_accounts(fuzzer: &mut Fuzzer, accounts: &mut Vec<AccountMeta>, known: AccountMeta) {
    let place = fuzzer.below(accounts.len().max(1));
    match fuzzer.below(6) {
        0 => accounts.push(known),
        _ if accounts.is_empty() => {}
        1 => drop(accounts.remove(place)),
        2 => accounts[place].is_writable ^= true,
        3 => accounts[place].is_signer ^= true,
        4 => {
            let with = fuzzer.below(accounts.len());
            accounts.swap(place, with);
        }
        _ => accounts[place].pubkey = known.pubkey,
    }
}

/// An account of another instruction, or a new one.
fn known_account(fuzzer: &mut Fuzzer, instructions: &[Instruction]) -> AccountMeta {
    let accounts: Vec<_> = instructions.iter().flat_map(|instruction| &instruction.accounts).collect();
    match accounts.get(fuzzer.below(accounts.len() + 1)) {
        Some(account) => (*account).clone(),
        None => AccountMeta::new(Address::new_from_array(fuzzer.random()), false),
    }
}

/// An instruction that takes something from the wallet.
fn foreign(fuzzer: &mut Fuzzer) -> Instruction {
    let (wallet, thief) = (intent(Shape::Tokens).wallet, Address::new_from_array(fuzzer.random()));
    let (token, account) = (TokenProgram::Token.id(), intent(Shape::SellNative).temporary());
    match fuzzer.below(5) {
        0 => solana_system_interface::instruction::transfer(&wallet, &thief, fuzzer.random()),
        1 => solana_system_interface::instruction::advance_nonce_account(&thief, &wallet),
        2 => spl_token_interface::instruction::close_account(&token, &account, &thief, &wallet, &[]).unwrap(),
        3 => spl_token_interface::instruction::approve(&token, &account, &thief, &wallet, &[], u64::MAX).unwrap(),
        _ => Instruction {
            program_id: thief,
            accounts: vec![AccountMeta::new(wallet, true)],
            data: vec![fuzzer.random()],
        },
    }
}

//! From instructions to the message that is signed, and to the bytes that are sent.

use solana_address::Address;
use solana_hash::Hash;
use solana_instruction::Instruction;
use solana_message::v0;
use thiserror::Error;

use crate::domain::swap::Signature;

/// The most bytes that the chain accepts.
pub const MAX_TRANSACTION_BYTES: usize = 1232;
/// One signature, and their number.
pub(super) const SIGNATURE_BYTES: usize = 65;

/// The instructions do not fit into one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the instructions do not fit into one transaction of {MAX_TRANSACTION_BYTES} bytes")]
pub struct TooLarge;

/// The message that the wallet signs: version 0, without lookup tables, so that it names every account.
pub fn compile(wallet: &Address, instructions: &[Instruction], blockhash: Hash) -> Result<Vec<u8>, TooLarge> {
    let message = v0::Message::try_compile(wallet, instructions, &[], blockhash).map_err(|_| TooLarge)?;
    let bytes = message.serialize();
    if bytes.len() + SIGNATURE_BYTES > MAX_TRANSACTION_BYTES { Err(TooLarge) } else { Ok(bytes) }
}

/// The transaction as it is sent: the number of signatures, the signature, and the message.
///
/// With a signature of zeros it can be simulated but never lands.
pub fn wire(message: &[u8], signature: Signature) -> Vec<u8> {
    [&[1], &signature.0[..], message].concat()
}

#[cfg(test)]
mod tests {
    use solana_instruction::AccountMeta;

    use super::*;

    fn instruction(accounts: u8, data: usize) -> Instruction {
        let metas = (0..accounts).map(|at| AccountMeta::new(Address::new_from_array([at + 10; 32]), false));
        Instruction { program_id: Address::new_from_array([1; 32]), accounts: metas.collect(), data: vec![0; data] }
    }

    #[test]
    fn a_transaction_fills_the_limit_of_the_chain_and_does_not_exceed_it() {
        let wallet = Address::new_from_array([2; 32]);
        let length = |data| compile(&wallet, &[instruction(20, data)], Hash::default()).map(|message| message.len());
        let room = MAX_TRANSACTION_BYTES - SIGNATURE_BYTES - length(200).unwrap() + 200;
        assert_eq!(length(room), Ok(MAX_TRANSACTION_BYTES - SIGNATURE_BYTES));
        assert_eq!(length(room + 1), Err(TooLarge));
        assert_eq!(compile(&wallet, &[instruction(60, 0)], Hash::default()), Err(TooLarge));
    }

    #[test]
    fn the_bytes_that_are_sent_are_the_signature_and_the_message() {
        let sent = wire(b"message", Signature([9; 64]));
        assert_eq!(sent.len(), SIGNATURE_BYTES + 7);
        assert_eq!((sent[0], &sent[1..65], &sent[65..]), (1, &[9; 64][..], &b"message"[..]));
    }
}

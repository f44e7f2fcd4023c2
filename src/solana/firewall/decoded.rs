//! A message as the chain will understand it.

use solana_address::Address;
use solana_hash::Hash;
use solana_instruction::{AccountMeta, Instruction};
use solana_message::{VersionedMessage, v0};

use super::Refusal;
use crate::solana::transaction::MAX_TRANSACTION_BYTES;

/// What an instruction may do with an account. The chain grants access to a whole message: an account that one
/// instruction may write is writable for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read only.
    Read,
    /// Written.
    Write,
    /// Signed and written: only the payer is.
    Sign,
}

/// An instruction.
#[derive(Debug)]
pub(super) struct Step {
    pub program: Address,
    pub accounts: Vec<(Address, Access)>,
    pub data: Vec<u8>,
}

/// A message of version 0 that names each account once, and none without a use.
#[derive(Debug)]
pub(super) struct Decoded {
    pub payer: Address,
    pub blockhash: Hash,
    pub steps: Vec<Step>,
}

impl Decoded {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Refusal> {
        let message = parsed(bytes)?;
        if !message.address_table_lookups.is_empty() {
            return Err(Refusal::LookupTable);
        }
        if message.header.num_required_signatures != 1 {
            return Err(Refusal::Signatures(message.header.num_required_signatures));
        }
        let accounts = accounts(&message)?;
        let steps = message.instructions.iter().map(|instruction| {
            let account = |index: &u8| accounts[usize::from(*index)];
            let (program, access) = account(&instruction.program_id_index);
            if access != Access::Read {
                return Err(Refusal::Malformed("a program is writable"));
            }
            let accounts = instruction.accounts.iter().map(account).collect();
            Ok(Step { program, accounts, data: instruction.data.clone() })
        });
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        match accounts.iter().find(|(address, _)| !steps.iter().any(|step| step.names(*address))) {
            Some((address, _)) => Err(Refusal::UnusedAccount(*address)),
            None => Ok(Self { payer: accounts[0].0, blockhash: message.recent_blockhash, steps }),
        }
    }
}

impl Step {
    fn names(&self, address: Address) -> bool {
        self.program == address || self.accounts.iter().any(|(account, _)| *account == address)
    }

    /// The instruction in the form in which a program describes it. The wallet is writable in every message, because it
    /// pays the fee; a swap only asks for its signature.
    pub(super) fn instruction(&self, wallet: Address) -> Instruction {
        let accounts = self.accounts.iter().map(|(pubkey, access)| AccountMeta {
            pubkey: *pubkey,
            is_signer: *access == Access::Sign,
            is_writable: *access != Access::Read && *pubkey != wallet,
        });
        Instruction { program_id: self.program, accounts: accounts.collect(), data: self.data.clone() }
    }
}

fn parsed(bytes: &[u8]) -> Result<v0::Message, Refusal> {
    const SIGNATURE_BYTES: usize = 65;
    if bytes.len() + SIGNATURE_BYTES > MAX_TRANSACTION_BYTES {
        return Err(Refusal::Malformed("it is too long"));
    }
    let message = match wincode::deserialize_exact(bytes) {
        Ok(VersionedMessage::V0(message)) => message,
        Ok(_) => return Err(Refusal::Malformed("it has another version")),
        Err(_) => return Err(Refusal::Malformed("it cannot be decoded")),
    };
    // What is signed are the bytes, so no other bytes may have the same meaning.
    if message.serialize() != bytes {
        return Err(Refusal::Malformed("it has another encoding"));
    }
    // After this, each index is that of an account.
    message.sanitize().map_err(|_| Refusal::Malformed("its header or an index is wrong"))?;
    Ok(message)
}

/// The accounts in the order of the message, each with the access that its header grants.
fn accounts(message: &v0::Message) -> Result<Vec<(Address, Access)>, Refusal> {
    let (keys, header) = (&message.account_keys, &message.header);
    let writable = keys.len() - usize::from(header.num_readonly_unsigned_accounts);
    let mut accounts: Vec<(Address, Access)> = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        if accounts.iter().any(|(known, _)| known == key) {
            return Err(Refusal::Malformed("it names an account twice"));
        }
        let access = match () {
            () if index == 0 => Access::Sign,
            () if index < writable => Access::Write,
            () => Access::Read,
        };
        accounts.push((*key, access));
    }
    Ok(accounts)
}

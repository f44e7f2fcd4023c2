//! A pool on the chain, and swaps in it.

use solana_address::Address;
use solana_instruction::{AccountMeta, Instruction};
use solana_keypair::Keypair;
use solana_message::{VersionedMessage, v0};
use solana_signature::Signature;
use solana_signer::Signer;
use solana_transaction::versioned::VersionedTransaction;

use super::associated_account;
use crate::programs::{meteora_damm_v2, raydium_cpmm};
use crate::{Chain, Commitment};

/// A pool that was placed on the chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pool {
    /// Its program, with the further accounts of a swap.
    pub kind: PoolKind,
    /// The account of the pool.
    pub address: Address,
    /// Its two tokens, in the order of the pool.
    pub mints: [Address; 2],
    /// Where the pool holds them.
    pub vaults: [Address; 2],
    /// The programs of the tokens.
    pub token_programs: [Address; 2],
}

/// The program of a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolKind {
    /// Raydium's constant product.
    RaydiumCpmm {
        /// The account with the fee rates.
        config: Address,
        /// The account with the past prices.
        observation: Address,
    },
    /// Meteora's DAMM v2.
    MeteoraDammV2,
}

/// The accounts of a user who swaps.
#[derive(Clone, Copy, Debug)]
pub struct UserAccounts {
    /// Who signs.
    pub owner: Address,
    /// Pays.
    pub input: Address,
    /// Receives.
    pub output: Address,
}

impl Pool {
    /// The swap instruction of its program for an exact input.
    pub fn swap(&self, user: UserAccounts, mint_in: &Address, amount_in: u64, minimum_out: u64) -> Instruction {
        let input = usize::from(self.mints[0] != *mint_in);
        let output = 1 - input;
        let read = |address| AccountMeta::new_readonly(address, false);
        let write = |address| AccountMeta::new(address, false);
        let signer = AccountMeta::new_readonly(user.owner, true);
        let (program_id, discriminator, accounts) = match self.kind {
            PoolKind::RaydiumCpmm { config, observation } => (
                raydium_cpmm::PROGRAM,
                raydium_cpmm::SWAP_BASE_INPUT,
                vec![
                    signer,
                    read(raydium_cpmm::authority().0),
                    read(config),
                    write(self.address),
                    write(user.input),
                    write(user.output),
                    write(self.vaults[input]),
                    write(self.vaults[output]),
                    read(self.token_programs[input]),
                    read(self.token_programs[output]),
                    read(self.mints[input]),
                    read(self.mints[output]),
                    write(observation),
                ],
            ),
            PoolKind::MeteoraDammV2 => (
                meteora_damm_v2::PROGRAM,
                meteora_damm_v2::SWAP,
                vec![
                    read(meteora_damm_v2::POOL_AUTHORITY),
                    write(self.address),
                    write(user.input),
                    write(user.output),
                    write(self.vaults[0]),
                    write(self.vaults[1]),
                    read(self.mints[0]),
                    read(self.mints[1]),
                    signer,
                    read(self.token_programs[0]),
                    read(self.token_programs[1]),
                    read(meteora_damm_v2::PROGRAM),
                    read(meteora_damm_v2::EVENT_AUTHORITY),
                    read(meteora_damm_v2::PROGRAM),
                ],
            ),
        };
        let mut data = discriminator.to_vec();
        data.extend(amount_in.to_le_bytes());
        data.extend(minimum_out.to_le_bytes());
        Instruction { program_id, accounts, data }
    }

    /// The other token of the pool.
    pub fn other(&self, mint: &Address) -> Address {
        self.mints[usize::from(self.mints[0] == *mint)]
    }
}

impl Chain {
    /// The pools that were placed.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Lets somebody else swap in a pool: in the next block, before transactions that are sent later. Moves the price.
    pub fn swap_as_somebody(&mut self, pool: &Pool, mint_in: &Address, amount_in: u64) -> Signature {
        let somebody = somebody();
        let account = |chain: &Self, mint| associated_account(&somebody.pubkey(), mint, &chain.token_program(mint));
        let user = UserAccounts {
            owner: somebody.pubkey(),
            input: account(self, mint_in),
            output: account(self, &pool.other(mint_in)),
        };
        let transaction = self.sign(&somebody, &[pool.swap(user, mint_in, amount_in, 0)]);
        let signature = transaction.signatures[0];
        self.send(transaction, 0);
        signature
    }

    /// A transaction with the newest blockhash, paid and signed by one wallet.
    pub fn sign(&self, payer: &Keypair, instructions: &[Instruction]) -> VersionedTransaction {
        let blockhash = self.block(Commitment::Processed, u64::MAX).blockhash;
        let message = v0::Message::try_compile(&payer.pubkey(), instructions, &[], blockhash);
        let message = VersionedMessage::V0(message.expect("the instructions name few accounts"));
        VersionedTransaction::try_new(message, &[payer]).expect("the payer is the only signer")
    }

    /// Remembers a pool, and gives somebody what they need to swap in it.
    pub(super) fn add_pool(&mut self, pool: Pool) -> Pool {
        let somebody = somebody().pubkey();
        self.set_lamports(somebody, 1_000_000_000_000);
        for mint in &pool.mints {
            self.set_tokens(&somebody, mint, 1_000_000_000_000_000_000);
        }
        self.pools.push(pool.clone());
        pool
    }
}

/// Who moves prices.
fn somebody() -> Keypair {
    Keypair::new_from_array(*b"somebody else who swaps in pools")
}

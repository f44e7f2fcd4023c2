//! Slots, blocks and blockhashes. A slot may have no block, so the height counts fewer than the slot.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};
use solana_hash::Hash;

/// For how many blocks after its own a blockhash is valid.
pub const VALID_BLOCKS: u64 = 150;

/// How many slots of mainnet had no block, about; keeps slots and heights apart by as much as there.
const SKIPPED_BEFORE: u64 = 22_000_000;

/// How many blocks are kept; at 214 ms a slot these are six hours.
const KEPT: usize = 100_000;

/// One block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Block {
    /// Its slot.
    pub slot: u64,
    /// How many blocks there were up to this one.
    pub height: u64,
    /// Its hash, which transactions name as their recent blockhash.
    pub blockhash: Hash,
    /// Its time, in seconds since 1970.
    pub unix_time: i64,
}

impl Block {
    /// The last height at which a transaction with the hash of this block can land.
    pub fn last_valid_height(&self) -> u64 {
        self.height + VALID_BLOCKS
    }
}

/// The blocks of the chain, oldest first. There is always at least one.
#[derive(Debug)]
pub struct Blocks {
    blocks: VecDeque<Block>,
    /// The last slot that has passed, with or without a block.
    slot: u64,
    /// Each n-th slot has no block.
    skipped: u64,
    /// Blocks up to this height lost the validity of their hashes.
    rolled_height: u64,
    first_slot: u64,
    first_unix_time: i64,
    slot_nanos: u128,
}

impl Blocks {
    /// A chain that has produced blocks for a while, so that each commitment has one.
    pub fn new(first_slot: u64, unix_time: i64, slot_nanos: u128, skipped: u64) -> Self {
        let first = Block {
            slot: first_slot,
            height: first_slot.saturating_sub(SKIPPED_BEFORE),
            blockhash: Hash::new_from_array(Sha256::digest(b"local chain").into()),
            unix_time,
        };
        Self {
            blocks: VecDeque::from([first]),
            slot: first_slot,
            skipped,
            rolled_height: 0,
            first_slot,
            first_unix_time: unix_time,
            slot_nanos,
        }
    }

    /// Lets one slot pass, and returns its block if it has one.
    pub fn pass_slot(&mut self) -> Option<Block> {
        self.slot += 1;
        if self.skipped > 0 && self.slot.is_multiple_of(self.skipped) {
            return None;
        }
        let last = self.last();
        let mut hash = Sha256::new();
        hash.update(last.blockhash.to_bytes());
        hash.update(self.slot.to_le_bytes());
        let passed = u128::from(self.slot - self.first_slot) * self.slot_nanos / 1_000_000_000;
        let block = Block {
            slot: self.slot,
            height: last.height + 1,
            blockhash: Hash::new_from_array(hash.finalize().into()),
            unix_time: self.first_unix_time + i64::try_from(passed).unwrap_or(i64::MAX),
        };
        self.blocks.push_back(block);
        if self.blocks.len() > KEPT {
            self.blocks.pop_front();
        }
        Some(block)
    }

    /// The last slot that has passed, with or without a block.
    pub fn slot(&self) -> u64 {
        self.slot
    }

    /// The newest block.
    pub fn last(&self) -> Block {
        *self.blocks.back().expect("there is always a block")
    }

    /// The oldest block that is kept.
    pub fn oldest(&self) -> Block {
        *self.blocks.front().expect("there is always a block")
    }

    /// The newest block at or before a slot; the oldest one for slots before it.
    pub fn at(&self, slot: u64) -> Block {
        let after = self.blocks.partition_point(|block| block.slot <= slot);
        self.blocks[after.saturating_sub(1)]
    }

    /// The block of exactly this slot.
    pub fn of_slot(&self, slot: u64) -> Option<Block> {
        Some(self.at(slot)).filter(|block| block.slot == slot)
    }

    /// The blocks up to a slot, newest first.
    pub fn up_to(&self, slot: u64) -> impl Iterator<Item = &Block> {
        self.blocks.iter().rev().skip_while(move |block| block.slot > slot)
    }

    /// The last height at which a transaction with this blockhash can land, seen from a block.
    pub fn last_valid_height(&self, blockhash: &Hash, seen_from: Block) -> Option<u64> {
        let recent = self.up_to(seen_from.slot).take_while(|block| block.last_valid_height() >= seen_from.height);
        let mut valid = recent.take_while(|block| block.height > self.rolled_height);
        valid.find(|block| block.blockhash == *blockhash).map(Block::last_valid_height)
    }

    /// Makes every blockhash up to now invalid.
    pub fn roll(&mut self) {
        self.rolled_height = self.last().height;
    }

    /// Gives the blocks after a slot other hashes, as another fork has; the old ones are invalid.
    pub fn replace_after(&mut self, slot: u64) {
        for block in self.blocks.iter_mut().filter(|block| block.slot > slot) {
            let mut hash = Sha256::new();
            hash.update(block.blockhash.to_bytes());
            hash.update(b"another fork");
            block.blockhash = Hash::new_from_array(hash.finalize().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(count: u64) -> Blocks {
        let mut blocks = Blocks::new(100_000_000, 1_700_000_000, 214_000_000, 20);
        for _ in 0..count {
            blocks.pass_slot();
        }
        blocks
    }

    #[test]
    fn heights_count_blocks_and_not_slots() {
        let blocks = blocks(100);
        assert_eq!(blocks.slot(), 100_000_100);
        assert_eq!(blocks.last().height - blocks.oldest().height, 95);
    }

    #[test]
    fn a_blockhash_is_valid_for_150_blocks() {
        let mut blocks = blocks(10);
        let block = blocks.last();
        while blocks.last().height < block.last_valid_height() {
            blocks.pass_slot();
        }
        assert_eq!(blocks.last_valid_height(&block.blockhash, blocks.last()), Some(block.height + 150));
        while blocks.last().height == block.last_valid_height() {
            blocks.pass_slot();
        }
        assert_eq!(blocks.last_valid_height(&block.blockhash, blocks.last()), None);
    }

    #[test]
    fn a_skipped_slot_shows_the_block_before_it() {
        let blocks = blocks(100);
        assert_eq!(blocks.of_slot(100_000_040), None);
        assert_eq!(blocks.at(100_000_040).slot, 100_000_039);
    }

    #[test]
    fn rolling_makes_all_older_hashes_invalid_and_new_ones_valid() {
        let mut blocks = blocks(10);
        let old = blocks.last();
        blocks.roll();
        let new = blocks.pass_slot().expect("the slot has a block");
        assert_eq!(blocks.last_valid_height(&old.blockhash, new), None);
        assert_eq!(blocks.last_valid_height(&new.blockhash, new), Some(new.height + 150));
    }
}

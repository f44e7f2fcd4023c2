//! Slots, heights, blockhashes and the node itself.

use serde_json::{Value, json};

use super::{Answer, Node, Params, RpcError, with_context};
use crate::EPOCH_SLOTS;
use crate::faults::Heights;

/// The hash of the genesis block.
pub const GENESIS_HASH: &str = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d";

/// How many slots an unhealthy endpoint says that it is behind.
const SLOTS_BEHIND: u64 = 200;

impl Node<'_> {
    pub(super) fn get_slot(&self, params: &Params) -> Answer {
        Ok(json!(self.block(&params.config(0)?)?.slot))
    }

    pub(super) fn get_block_height(&self, params: &Params) -> Answer {
        let block = self.block(&params.config(0)?)?;
        Ok(json!(self.height(block, block.height, Heights::SlotsInBlockHeight)))
    }

    pub(super) fn get_block_time(&self, params: &Params) -> Answer {
        let slot = params.number(0)?;
        if slot > self.chain.block(crate::Commitment::Confirmed, self.tip).slot {
            return Err(RpcError::block_not_available(slot));
        }
        let block = self.chain.blocks().of_slot(slot).ok_or_else(|| RpcError::slot_skipped(slot))?;
        Ok(json!(block.unix_time))
    }

    pub(super) fn get_epoch_info(&self, params: &Params) -> Answer {
        let block = self.block(&params.config(0)?)?;
        let landed = self.chain.landed().iter().filter(|landed| landed.slot <= block.slot).count();
        Ok(json!({
            "absoluteSlot": block.slot,
            "blockHeight": self.height(block, block.height, Heights::SlotsInEpochInfo),
            "epoch": block.slot / EPOCH_SLOTS,
            "slotIndex": block.slot % EPOCH_SLOTS,
            "slotsInEpoch": EPOCH_SLOTS,
            "transactionCount": landed,
        }))
    }

    pub(super) fn get_first_available_block(&self) -> Answer {
        Ok(json!(self.chain.blocks().oldest().slot))
    }

    pub(super) fn get_genesis_hash(&self) -> Answer {
        Ok(json!(self.faults.genesis_hash.as_deref().unwrap_or(GENESIS_HASH)))
    }

    pub(super) fn get_health(&self) -> Answer {
        self.require_healthy()?;
        Ok(json!("ok"))
    }

    pub(super) fn require_healthy(&self) -> Result<(), RpcError> {
        if self.faults.unhealthy { Err(RpcError::unhealthy(SLOTS_BEHIND)) } else { Ok(()) }
    }

    pub(super) fn get_latest_blockhash(&self, params: &Params) -> Answer {
        let block = self.block(&params.config(0)?)?;
        let last_valid = self.height(block, block.last_valid_height(), Heights::SlotsEverywhere);
        let value = json!({ "blockhash": block.blockhash.to_string(), "lastValidBlockHeight": last_valid });
        Ok(with_context(block, value))
    }

    pub(super) fn is_blockhash_valid(&self, params: &Params) -> Answer {
        let block = self.block(&params.config(1)?)?;
        let last_valid = self.chain.blocks().last_valid_height(&params.hash(0)?, block);
        Ok(with_context(block, json!(last_valid.is_some())))
    }

    pub(super) fn get_recent_prioritization_fees(&self, params: &Params) -> Answer {
        if params.addresses(0)?.len() > 128 {
            return Err(RpcError::invalid_params("Too many inputs provided; max 128"));
        }
        let fee = self.chain.priority_fee();
        let recent: Vec<_> = self.chain.blocks().up_to(self.tip).take(150).collect();
        let fees = recent.iter().rev().map(|block| json!({ "slot": block.slot, "prioritizationFee": fee }));
        Ok(Value::Array(fees.collect()))
    }
}

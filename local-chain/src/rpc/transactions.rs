//! Sending, simulating, and asking what became of a transaction.

use serde_json::{Value, json};
use solana_signature::Signature;

use super::accounts::optional_account;
use super::encoding::{
    decode, error_json, inner_instructions, meta_json, return_data, status_json, transaction_json, version,
};
use super::params::{SimulatedAccounts, address, commitment};
use super::{Answer, Node, Params, RpcError, with_context};
use crate::faults::History;
use crate::{Commitment, Landed, Simulation, is_signed};

/// The most signatures that one request may ask about.
const MAX_SIGNATURES: usize = 256;

/// For how many slots a node knows the status of a transaction without its history.
const RECENT_SLOTS: u64 = 300;

impl Node<'_> {
    pub(super) fn send_transaction(&mut self, params: &Params) -> Answer {
        let config = params.config(1)?;
        let transaction = decode(&params.text(0)?, config.encoding.as_deref())?;
        if !config.skip_preflight {
            let block = self.block_of(commitment(config.preflight_commitment.as_deref())?, &config)?;
            if !is_signed(&transaction) {
                return Err(RpcError::wrong_signature());
            }
            self.require_healthy()?;
            if let Err(failed) = self.chain.simulate(transaction.clone(), block) {
                let message = failed.err.to_string();
                return Err(RpcError::preflight_failure(&message, simulation_json(&Err(failed))));
            }
        }
        let signature = transaction.signatures[0].to_string();
        if !self.faults.drop_sends.meets() {
            self.chain.send(transaction, self.faults.landing_delay_slots);
        }
        Ok(json!(signature))
    }

    pub(super) fn simulate_transaction(&self, params: &Params) -> Answer {
        let config = params.config(1)?;
        let mut transaction = decode(&params.text(0)?, config.encoding.as_deref())?;
        let block = self.block(&config)?;
        if config.sig_verify && config.replace_recent_blockhash {
            return Err(RpcError::invalid_params("sigVerify may not be used with replaceRecentBlockhash"));
        }
        if config.sig_verify && !is_signed(&transaction) {
            return Err(RpcError::wrong_signature());
        }
        let mut replacement = Value::Null;
        if config.replace_recent_blockhash {
            transaction.message.set_recent_blockhash(block.blockhash);
            replacement = json!({
                "blockhash": block.blockhash.to_string(),
                "lastValidBlockHeight": block.last_valid_height(),
            });
        }
        let result = self.chain.simulate(transaction, block);
        let mut value = simulation_json(&result);
        value["replacementBlockhash"] = replacement;
        if config.inner_instructions {
            let meta = result.as_ref().map_or_else(|failed| &failed.meta, |info| &info.meta);
            value["innerInstructions"] = inner_instructions(meta);
        }
        if let Some(wanted) = &config.accounts {
            value["accounts"] = self.simulated_accounts(wanted, &result, block)?;
        }
        Ok(with_context(block, value))
    }

    /// The wanted accounts after a simulation; nulls if it failed.
    fn simulated_accounts(&self, wanted: &SimulatedAccounts, result: &Simulation, block: crate::Block) -> Answer {
        let account = |text: &String| {
            let address = address(text)?;
            let Ok(info) = result else { return Ok(Value::Null) };
            let changed = info.post_accounts.iter().find(|(changed, _)| *changed == address);
            let account =
                changed.map(|(_, account)| account.clone().into()).or_else(|| self.chain.account(&address, block));
            optional_account(account.filter(|account| account.lamports > 0), wanted.encoding.as_deref(), None)
        };
        wanted.addresses.iter().map(account).collect()
    }

    pub(super) fn get_signature_statuses(&self, params: &Params) -> Answer {
        let config = params.config(1)?;
        let signatures = params.signatures(0)?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(RpcError::invalid_params(format!("Too many inputs provided; max {MAX_SIGNATURES}")));
        }
        if config.search_transaction_history && self.faults.history == History::Recent {
            return Err(RpcError::no_history());
        }
        let block = self.chain.block(Commitment::Processed, self.tip);
        let oldest = if config.search_transaction_history { 0 } else { block.slot.saturating_sub(RECENT_SLOTS) };
        let status = |signature| match self.find(signature) {
            Some(landed) if landed.slot >= oldest => self.status(landed),
            _ => Value::Null,
        };
        Ok(with_context(block, signatures.iter().map(status).collect()))
    }

    /// A landed transaction, if this node knows it.
    fn find(&self, signature: &Signature) -> Option<&Landed> {
        let landed = self.chain.find(signature)?;
        (landed.slot <= self.tip && self.faults.history != History::Forgotten).then_some(landed)
    }

    fn status(&self, landed: &Landed) -> Value {
        let newest = self.chain.block(Commitment::Processed, self.tip).slot;
        let (name, confirmations) = match self.chain.commitment_of(landed.slot, self.tip) {
            Commitment::Processed => ("processed", Some(newest - landed.slot)),
            Commitment::Confirmed => ("confirmed", Some(newest - landed.slot)),
            Commitment::Finalized => ("finalized", None),
        };
        let error = landed.error.as_ref();
        json!({
            "slot": landed.slot,
            "confirmations": confirmations,
            "err": error_json(error),
            "status": status_json(error),
            "confirmationStatus": name,
        })
    }

    pub(super) fn get_transaction(&self, params: &Params) -> Answer {
        // The second parameter may be the encoding alone, as in the first releases.
        let config = match params.0.get(1) {
            Some(Value::String(encoding)) => {
                super::params::Config { encoding: Some(encoding.clone()), ..Default::default() }
            }
            _ => params.config(1)?,
        };
        let wanted = config.commitment()?;
        if wanted == Commitment::Processed {
            return Err(RpcError::invalid_params("Method does not support commitment below `confirmed`"));
        }
        let signature = params.signature(0)?;
        if self.faults.history == History::Recent {
            return Err(RpcError::no_history());
        }
        let found = self.find(&signature).filter(|found| self.chain.commitment_of(found.slot, self.tip) >= wanted);
        let Some(landed) = found else { return Ok(Value::Null) };
        let version = version(&landed.transaction.message);
        if let Some(version) = version
            && config.max_supported_transaction_version.is_none_or(|most| most < version)
        {
            return Err(RpcError::unsupported_version(version));
        }
        let mut answer = json!({
            "slot": landed.slot,
            "blockTime": landed.unix_time,
            "transaction": transaction_json(&landed.transaction, config.encoding.as_deref())?,
            "meta": meta_json(landed),
        });
        if config.max_supported_transaction_version.is_some() {
            answer["version"] = version.map_or_else(|| json!("legacy"), |version| json!(version));
        }
        Ok(answer)
    }
}

/// The result of a simulation, also the `data` of a failed preflight.
fn simulation_json(result: &Simulation) -> Value {
    let (error, meta) = match result {
        Ok(info) => (None, &info.meta),
        Err(failed) => (Some(&failed.err), &failed.meta),
    };
    json!({
        "err": error_json(error),
        "logs": meta.logs,
        "accounts": null,
        "unitsConsumed": meta.compute_units_consumed,
        "returnData": return_data(meta),
        "innerInstructions": null,
        "replacementBlockhash": null,
        "fee": meta.fee,
    })
}

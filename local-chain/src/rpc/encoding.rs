//! Transactions and token amounts as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use litesvm::types::TransactionMetadata;
use serde_json::{Value, json};
use solana_address::Address;
use solana_message::compiled_instruction::CompiledInstruction;
use solana_message::{MESSAGE_VERSION_PREFIX, VersionedMessage};
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use super::RpcError;
use crate::Landed;
use crate::tokens::TokenBalance;

/// The most bytes of a transaction.
const MAX_WIRE: usize = 1_232;

/// Reads a transaction that was sent.
pub fn decode(text: &str, encoding: Option<&str>) -> Result<VersionedTransaction, RpcError> {
    let invalid = |error: String| RpcError::invalid_params(error);
    let (name, wire) = match encoding {
        Some("base64") => {
            ("base64", BASE64.decode(text).map_err(|error| invalid(format!("invalid base64 encoding: {error:?}")))?)
        }
        None | Some("base58") => {
            let bytes = bs58::decode(text).into_vec();
            ("base58", bytes.map_err(|error| invalid(format!("invalid base58 encoding: {error:?}")))?)
        }
        Some(other) => {
            return Err(invalid(format!("unsupported encoding: {other}. Supported encodings: base58, base64")));
        }
    };
    const TYPE: &str = "solana_transaction::versioned::VersionedTransaction";
    if wire.len() > MAX_WIRE {
        let length = wire.len();
        return Err(invalid(format!("decoded {TYPE} too large: {length} bytes (max: {MAX_WIRE} bytes)")));
    }
    let transaction: VersionedTransaction = wincode::deserialize_exact(&wire)
        .map_err(|error| invalid(format!("failed to deserialize {TYPE}: {error} ({name})")))?;
    transaction.sanitize().map_err(|error| invalid(format!("invalid transaction: {error}")))?;
    if transaction.message.address_table_lookups().is_some_and(|lookups| !lookups.is_empty()) {
        return Err(invalid("invalid transaction: the local chain knows no address lookup tables".to_owned()));
    }
    Ok(transaction)
}

/// An error of a transaction.
pub fn error_json(error: Option<&TransactionError>) -> Value {
    error.map_or(Value::Null, |error| json!(error))
}

/// The old way to say how a transaction ended.
pub fn status_json(error: Option<&TransactionError>) -> Value {
    error.map_or_else(|| json!({ "Ok": null }), |error| json!({ "Err": error }))
}

/// A landed transaction in one of the two encodings.
pub fn transaction_json(transaction: &VersionedTransaction, encoding: Option<&str>) -> Result<Value, RpcError> {
    let wire = || wincode::serialize(transaction).expect("a transaction that was decoded can be encoded");
    match encoding {
        Some("base64") => Ok(json!([BASE64.encode(wire()), "base64"])),
        Some("base58") => Ok(json!([bs58::encode(wire()).into_string(), "base58"])),
        None | Some("json") => Ok(parsed(transaction)),
        Some(other) => Err(RpcError::invalid_params(format!("unsupported encoding: {other}"))),
    }
}

fn parsed(transaction: &VersionedTransaction) -> Value {
    let message = &transaction.message;
    let header = message.header();
    let mut json = json!({
        "signatures": transaction.signatures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "message": {
            "header": {
                "numRequiredSignatures": header.num_required_signatures,
                "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
                "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
            },
            "accountKeys": message.static_account_keys().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "recentBlockhash": message.recent_blockhash().to_string(),
            "instructions": message.instructions().iter().map(|called| instruction(called, 1)).collect::<Vec<_>>(),
        },
    });
    if !matches!(message, VersionedMessage::Legacy(_)) {
        json["message"]["addressTableLookups"] = json!([]);
    }
    json
}

fn instruction(called: &CompiledInstruction, stack_height: u32) -> Value {
    json!({
        "programIdIndex": called.program_id_index,
        "accounts": called.accounts,
        "data": bs58::encode(&called.data).into_string(),
        "stackHeight": stack_height,
    })
}

/// The version of a transaction: "legacy" or its number.
pub fn version(message: &VersionedMessage) -> Option<u8> {
    let first = message.serialize().first().copied().unwrap_or_default();
    (first & MESSAGE_VERSION_PREFIX != 0).then_some(first & !MESSAGE_VERSION_PREFIX)
}

/// What a transaction did.
pub fn meta_json(landed: &Landed) -> Value {
    let error = landed.error.as_ref();
    let mut meta = json!({
        "err": error_json(error),
        "status": status_json(error),
        "fee": landed.meta.fee,
        "preBalances": landed.lamports.before,
        "postBalances": landed.lamports.after,
        "preTokenBalances": token_balances(&landed.tokens.before),
        "postTokenBalances": token_balances(&landed.tokens.after),
        "innerInstructions": inner_instructions(&landed.meta),
        "logMessages": landed.meta.logs,
        "loadedAddresses": { "writable": [], "readonly": [] },
        "rewards": [],
        "computeUnitsConsumed": landed.meta.compute_units_consumed,
    });
    if let Value::Object(returned) = return_data(&landed.meta) {
        meta["returnData"] = Value::Object(returned);
    }
    meta
}

/// What the programs called.
pub fn inner_instructions(meta: &TransactionMetadata) -> Value {
    let called = meta.inner_instructions.iter().enumerate().filter(|(_, inner)| !inner.is_empty());
    let list = called.map(|(index, inner)| {
        let list: Vec<_> =
            inner.iter().map(|inner| instruction(&inner.instruction, u32::from(inner.stack_height))).collect();
        json!({ "index": index, "instructions": list })
    });
    Value::Array(list.collect())
}

/// What a program returned, or null.
pub fn return_data(meta: &TransactionMetadata) -> Value {
    let returned = &meta.return_data;
    if returned.program_id == Address::default() {
        return Value::Null;
    }
    json!({ "programId": returned.program_id.to_string(), "data": [BASE64.encode(&returned.data), "base64"] })
}

fn token_balances(balances: &[TokenBalance]) -> Value {
    let balance = |balance: &TokenBalance| {
        json!({
            "accountIndex": balance.account_index,
            "mint": balance.holding.mint.to_string(),
            "owner": balance.holding.owner.to_string(),
            "programId": balance.program.to_string(),
            "uiTokenAmount": ui_amount(balance.holding.amount, balance.decimals),
        })
    };
    balances.iter().map(balance).collect()
}

/// An amount of a token in all the forms that nodes answer.
pub fn ui_amount(amount: u64, decimals: u8) -> Value {
    let text = decimal(amount, decimals);
    json!({
        "amount": amount.to_string(),
        "decimals": decimals,
        "uiAmount": text.parse::<f64>().ok(),
        "uiAmountString": text,
    })
}

fn decimal(amount: u64, decimals: u8) -> String {
    let places = usize::from(decimals);
    let digits = format!("{amount:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_without_trailing_zeros() {
        assert_eq!(decimal(1_500_000, 6), "1.5");
        assert_eq!(decimal(7, 9), "0.000000007");
        assert_eq!(decimal(3_000, 3), "3");
        assert_eq!(decimal(42, 0), "42");
    }
}

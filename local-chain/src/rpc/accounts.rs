//! Accounts and balances.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use solana_account::Account;
use solana_address::Address;

use super::encoding::ui_amount;
use super::params::{Config, DataSlice, Filter, Memcmp};
use super::{Answer, Node, Params, RpcError, with_context};
use crate::tokens;

/// The most addresses that one request may name.
const MAX_ADDRESSES: usize = 100;

/// The most bytes of an account that a node writes in base58.
const MAX_BASE58: usize = 128;

impl Node<'_> {
    pub(super) fn get_account_info(&self, params: &Params) -> Answer {
        let config = params.config(1)?;
        let block = self.block(&config)?;
        let account = self.chain.account(&params.address(0)?, block);
        Ok(with_context(block, optional_account(account, config.encoding.as_deref(), config.data_slice)?))
    }

    pub(super) fn get_multiple_accounts(&self, params: &Params) -> Answer {
        let config = params.config(1)?;
        let block = self.block(&config)?;
        let addresses = params.addresses(0)?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(RpcError::invalid_params(format!("Too many inputs provided; max {MAX_ADDRESSES}")));
        }
        // The default of this method is base64.
        let encoding = config.encoding.as_deref().or(Some("base64"));
        let account = |address| optional_account(self.chain.account(address, block), encoding, config.data_slice);
        Ok(with_context(block, addresses.iter().map(account).collect::<Result<_, _>>()?))
    }

    pub(super) fn get_program_accounts(&self, params: &Params) -> Answer {
        let config: Config = params.config(1)?;
        let block = self.block(&config)?;
        let filters: Vec<_> = config.filters.unwrap_or_default().iter().map(Wanted::parse).collect::<Result<_, _>>()?;
        let mut found = self.chain.program_accounts(&params.address(0)?, block);
        found.retain(|(_, account)| filters.iter().all(|filter| filter.matches(account)));
        found.sort_by_key(|(address, _)| *address);
        let account = |(address, account): (Address, Account)| {
            let account = account_json(&account, config.encoding.as_deref(), config.data_slice)?;
            Ok(json!({ "pubkey": address.to_string(), "account": account }))
        };
        let accounts = found.into_iter().map(account).collect::<Result<Value, RpcError>>()?;
        Ok(if config.with_context { with_context(block, accounts) } else { accounts })
    }

    pub(super) fn get_balance(&self, params: &Params) -> Answer {
        let block = self.block(&params.config(1)?)?;
        let lamports = self.chain.account(&params.address(0)?, block).map_or(0, |account| account.lamports);
        Ok(with_context(block, json!(lamports)))
    }

    pub(super) fn get_token_account_balance(&self, params: &Params) -> Answer {
        let block = self.block(&params.config(1)?)?;
        let account = self.chain.account(&params.address(0)?, block);
        let account = account.ok_or_else(|| RpcError::invalid_params("Invalid param: could not find account"))?;
        let not_a_token_account = || RpcError::invalid_params("Invalid param: not a Token account");
        let holding = tokens::holding(&account).ok_or_else(not_a_token_account)?;
        let mint = self.chain.account(&holding.mint, block).and_then(|mint| tokens::decimals(&mint));
        let decimals = mint.ok_or_else(|| RpcError::invalid_params("Invalid param: could not find mint"))?;
        Ok(with_context(block, ui_amount(holding.amount, decimals)))
    }

    pub(super) fn get_minimum_balance(&self, params: &Params) -> Answer {
        let length = usize::try_from(params.number(0)?).unwrap_or(usize::MAX);
        Ok(json!(self.chain.rent(length)))
    }
}

/// A filter whose bytes are decoded.
enum Wanted {
    Bytes { offset: usize, bytes: Vec<u8> },
    Length(usize),
    TokenAccount,
}

impl Wanted {
    fn parse(filter: &Filter) -> Result<Self, RpcError> {
        let invalid = |error: String| RpcError::invalid_params(format!("Invalid param: {error}"));
        Ok(match filter {
            Filter::DataSize(length) => Self::Length(*length),
            Filter::TokenAccountState => Self::TokenAccount,
            Filter::Memcmp(Memcmp { offset, bytes, encoding }) => Self::Bytes {
                offset: *offset,
                bytes: match encoding.as_deref() {
                    Some("base64") => BASE64.decode(bytes).map_err(|error| invalid(error.to_string()))?,
                    _ => bs58::decode(bytes).into_vec().map_err(|error| invalid(error.to_string()))?,
                },
            },
        })
    }

    fn matches(&self, account: &Account) -> bool {
        match self {
            Self::Bytes { offset, bytes } => account.data.get(*offset..).is_some_and(|rest| rest.starts_with(bytes)),
            Self::Length(length) => account.data.len() == *length,
            Self::TokenAccount => tokens::holding(account).is_some(),
        }
    }
}

/// An account as an answer, or null.
pub fn optional_account(account: Option<Account>, encoding: Option<&str>, slice: Option<DataSlice>) -> Answer {
    account.map_or(Ok(Value::Null), |account| account_json(&account, encoding, slice))
}

fn account_json(account: &Account, encoding: Option<&str>, slice: Option<DataSlice>) -> Answer {
    let data = match slice {
        None => account.data.as_slice(),
        Some(DataSlice { offset, length }) => {
            let rest = account.data.get(offset..).unwrap_or_default();
            &rest[..length.min(rest.len())]
        }
    };
    let data = match encoding {
        None | Some("binary" | "base58") if data.len() > MAX_BASE58 => {
            return Err(RpcError::invalid_request(
                "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding.",
            ));
        }
        None | Some("binary") => json!(bs58::encode(data).into_string()),
        Some("base58") => json!([bs58::encode(data).into_string(), "base58"]),
        // A node that cannot parse the account answers `jsonParsed` in base64 too.
        Some("base64" | "jsonParsed") => json!([BASE64.encode(data), "base64"]),
        Some(other) => return Err(RpcError::invalid_params(format!("Invalid params: unknown variant `{other}`."))),
    };
    Ok(json!({
        "lamports": account.lamports,
        "data": data,
        "owner": account.owner.to_string(),
        "executable": account.executable,
        "rentEpoch": u64::MAX,
        "space": account.data.len(),
    }))
}

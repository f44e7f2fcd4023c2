//! Tokens: a mint address and, for known tokens, a symbol.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The mint address of a token: 32 bytes in base58. The encoding is unique, so the text serves as the key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Mint(Arc<str>);

impl Mint {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Mint {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match five8::decode_32(text, &mut [0; 32]) {
            Ok(()) => Ok(Self(text.into())),
            Err(_) => Err(TokenError::Unknown(text.chars().take(64).collect())),
        }
    }
}

impl<'de> Deserialize<'de> for Mint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The maximum number of decimals. With more, one whole token would not fit into 2^64 base units.
pub const MAX_DECIMALS: u8 = 18;

/// A stored number of decimals may be damaged.
fn decimals<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        decimals @ ..=MAX_DECIMALS => Ok(decimals),
        decimals => Err(serde::de::Error::custom(format!("{decimals} decimals; at most {MAX_DECIMALS} are possible"))),
    }
}

/// A token of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The mint address.
    pub mint: Mint,
    /// The symbol, if the token is in the token list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub symbol: Option<Arc<str>>,
    /// The number of decimals, at most [`MAX_DECIMALS`].
    #[serde(deserialize_with = "decimals")]
    pub decimals: u8,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.symbol {
            Some(symbol) => f.write_str(symbol),
            None => self.mint.fmt(f),
        }
    }
}

/// Why a text is not a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Neither a known symbol nor the base58 of 32 bytes.
    #[error("{0:?} is neither a known symbol nor a mint address (base58 of 32 bytes)")]
    Unknown(String),
}

/// A token of the token list, with its price at the simulated venues.
#[derive(Clone, Debug)]
pub struct KnownToken {
    /// The token.
    pub token: Token,
    /// The price at the simulated venues, in US dollars.
    pub simulated_usd: Decimal,
}

/// The known tokens (`config/tokens.toml`).
#[derive(Debug)]
pub struct TokenList {
    tokens: Vec<KnownToken>,
    by_symbol: HashMap<Arc<str>, usize>,
    by_mint: HashMap<Mint, usize>,
    unknown_decimals: u8,
}

impl TokenList {
    /// Creates the list. Fails with a message if a symbol or a mint occurs twice.
    ///
    /// `unknown_decimals` is assumed for a mint outside the list; only the simulation accepts such mints.
    pub fn new(tokens: Vec<KnownToken>, unknown_decimals: u8) -> Result<Self, String> {
        let mut list = Self {
            tokens: Vec::with_capacity(tokens.len()),
            by_symbol: HashMap::new(),
            by_mint: HashMap::new(),
            unknown_decimals,
        };
        for known in tokens {
            let index = list.tokens.len();
            let symbol = known.token.symbol.clone().ok_or("a listed token needs a symbol")?;
            if list.by_symbol.insert(symbol.clone(), index).is_some() {
                return Err(format!("symbol {symbol} occurs twice"));
            }
            if list.by_mint.insert(known.token.mint.clone(), index).is_some() {
                return Err(format!("mint {} occurs twice", known.token.mint));
            }
            list.tokens.push(known);
        }
        Ok(list)
    }

    /// The token for a symbol (in upper or lower case) or a mint address.
    pub fn resolve(&self, text: &str) -> Result<Token, TokenError> {
        if let Some(&index) =
            self.by_symbol.get(text).or_else(|| self.by_symbol.get(text.to_ascii_uppercase().as_str()))
        {
            return Ok(self.tokens[index].token.clone());
        }
        let mint: Mint = text.parse()?;
        Ok(match self.by_mint.get(&mint) {
            Some(&index) => self.tokens[index].token.clone(),
            None => Token { mint, symbol: None, decimals: self.unknown_decimals },
        })
    }

    /// The listed token of a mint.
    pub fn known(&self, mint: &Mint) -> Option<&KnownToken> {
        self.by_mint.get(mint).map(|&index| &self.tokens[index])
    }

    /// All tokens, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &KnownToken> {
        self.tokens.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOL: &str = "So11111111111111111111111111111111111111112";

    fn list() -> TokenList {
        let sol = Token { mint: SOL.parse().unwrap(), symbol: Some("SOL".into()), decimals: 9 };
        TokenList::new(vec![KnownToken { token: sol, simulated_usd: Decimal::from(150) }], 9).unwrap()
    }

    #[test]
    fn a_token_is_found_by_symbol_and_by_mint() {
        let list = list();
        assert_eq!(list.resolve("SOL"), list.resolve(SOL));
        assert_eq!(list.resolve("sol"), list.resolve(SOL));
        let other = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
        assert_eq!(list.resolve(other).unwrap().to_string(), other);
    }

    #[test]
    fn a_text_that_is_not_32_bytes_of_base58_is_refused() {
        for text in [
            "",
            "NOPE",
            &"0".repeat(44),
            &"O".repeat(44),
            &"I".repeat(44),
            &"l".repeat(44),
            &"1".repeat(31),
            &"1".repeat(33),
            &"z".repeat(44),
        ] {
            assert!(list().resolve(text).is_err(), "{text}");
        }
    }
}

//! Where secrets and ledgers are, and other small settings.

use std::path::PathBuf;
use std::str::FromStr;

use rust_decimal::Decimal;

use crate::domain::secret::Secret;

/// Where the secret is that signs tokens.
#[derive(Clone, Debug)]
pub enum SecretPlace {
    /// In the settings.
    Given(Secret),
    /// In this file, which is created if it does not exist.
    File(PathBuf),
    /// In the memory of this process, lost with it like its database.
    Memory,
}

/// Whether new accounts can be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Registration {
    Open,
    Closed,
}

impl FromStr for Registration {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("must be open or closed"),
        }
    }
}

/// Where the ledger of the simulated chain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerPlace {
    /// In the memory of this process, lost with it; for benchmarks.
    Memory,
    /// In this file.
    File(PathBuf),
}

/// The place of the ledger as it is written, before `auto` is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum LedgerText {
    /// Beside the database.
    Auto,
    /// At this place.
    At(LedgerPlace),
}

impl FromStr for LedgerText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A misspelled word must not become the name of a file.
        let word = text.trim_matches(':').to_ascii_lowercase();
        match text {
            "auto" => Ok(Self::Auto),
            "memory" => Ok(Self::At(LedgerPlace::Memory)),
            _ if word.is_empty() || word == "auto" || word == "memory" || text.ends_with('/') => {
                Err("must be a file, \"memory\" or \"auto\"")
            }
            _ if text.chars().any(char::is_control) => Err("must have no control characters"),
            _ => Ok(Self::At(LedgerPlace::File(text.into()))),
        }
    }
}

/// A share from 0 to 1, stored in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// 0.
    pub const NONE: Self = Self(0);
    /// 1.
    pub const ALL: Self = Self(1_000_000);

    /// Whether a number that is drawn uniformly from 0 to 999,999 is in this share.
    pub const fn holds(self, drawn: u32) -> bool {
        drawn < self.0
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "must be a share from 0 to 1";
        let share = text.parse::<Decimal>().map_err(|_| ERROR)?;
        if share < Decimal::ZERO || share > Decimal::ONE {
            return Err(ERROR);
        }
        u32::try_from((share * Decimal::from(1_000_000)).trunc().mantissa()).map(Self).map_err(|_| ERROR)
    }
}

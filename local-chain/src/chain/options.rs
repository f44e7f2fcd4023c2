//! What a local chain is started with.

use std::path::Path;
use std::time::Duration;

/// The settings of a [`Chain`](crate::Chain).
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether slots pass by the clock or by hand.
    pub pace: Pace,
    /// How long one slot takes. By hand, the unix time advances by this much with each slot.
    pub slot_time: Duration,
    /// Each n-th slot has no block, so that the height differs from the slot; 0 skips none.
    pub skipped: u64,
    /// How many slots after its block a transaction is confirmed.
    pub confirmed_after: u64,
    /// How many slots after its block a transaction is finalized.
    pub finalized_after: u64,
    /// The price of a byte of an account. With the default a token account costs 1,488,440 lamports.
    pub lamports_per_byte: u64,
    /// The program of Raydium's constant product pools.
    pub raydium_cpmm: Program,
    /// The program of Meteora's DAMM v2 pools.
    pub meteora_damm_v2: Program,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pace: Pace::Clock,
            slot_time: Duration::from_millis(214),
            skipped: 20,
            confirmed_after: 2,
            finalized_after: 31,
            lamports_per_byte: 5_080,
            raydium_cpmm: Program::StandIn,
            meteora_damm_v2: Program::StandIn,
        }
    }
}

impl Options {
    /// Slots pass only when [`Chain::step`](crate::Chain::step) is called.
    pub fn by_hand() -> Self {
        Self { pace: Pace::ByHand, ..Self::default() }
    }

    /// With the real programs whose files the environment names: `ORDER_ENGINE_RAYDIUM_CPMM_SO` and
    /// `ORDER_ENGINE_METEORA_DAMM_V2_SO`.
    pub fn with_programs_of_environment(mut self) -> std::io::Result<Self> {
        self.raydium_cpmm = Program::of_variable("ORDER_ENGINE_RAYDIUM_CPMM_SO")?;
        self.meteora_damm_v2 = Program::of_variable("ORDER_ENGINE_METEORA_DAMM_V2_SO")?;
        Ok(self)
    }
}

/// What makes slots pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// The clock of the machine.
    Clock,
    /// Only the caller.
    ByHand,
}

/// Where the code of a swap program comes from.
#[derive(Clone, Eq, PartialEq)]
pub enum Program {
    /// The native stand-in of this crate.
    StandIn,
    /// The bytes of the real program.
    Real(Vec<u8>),
}

impl Program {
    /// The real program in a file.
    pub fn of_file(path: impl AsRef<Path>) -> std::io::Result<Self> {
        Ok(Self::Real(std::fs::read(path)?))
    }

    fn of_variable(name: &str) -> std::io::Result<Self> {
        match std::env::var_os(name).filter(|path| !path.is_empty()) {
            None => Ok(Self::StandIn),
            Some(path) => Self::of_file(&path)
                .map_err(|error| std::io::Error::new(error.kind(), format!("{name}: {}: {error}", path.display()))),
        }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StandIn => out.write_str("StandIn"),
            Self::Real(bytes) => write!(out, "Real({} bytes)", bytes.len()),
        }
    }
}

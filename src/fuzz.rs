//! A fuzzer for the parsers of outside input. A target must not panic, and must parse accepted input to the same value
//! again.
//!
//! A test run uses 10,000 inputs per target; `ORDER_ENGINE_CAMPAIGN=full` uses a million. A failed run prints its seed:
//! `ORDER_ENGINE_CAMPAIGN_SEED` repeats it. Each target is in the module of the parser that it tests.

use rand::distr::{Distribution, StandardUniform};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Tokens that have a meaning in some parser.
#[rustfmt::skip]
const WORDS: [&str; 64] = [
    "", "0", "1", "9", "00", "-", "+", ".", "e", "E", "e400", "e-400", "e+9", "1.5", "0.01", "-1", "NaN", "inf",
    "0x1f", "18446744073709551615", "18446744073709551616", "79228162514264337593543950336", "9223372036854775808",
    "1e-28", "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u0000", "\\ud800", "null", "true", "tokenIn", "tokenOut",
    "amountIn", "slippage", "slippageBps", "minAmountOut", "clientOrderId", "limit", "cursor", "status", "from",
    "SOL", "usdc", "So11111111111111111111111111111111111111112", "market", "&", "=", "%", "%00", "%ff", "+00:00",
    "2026-01-31T12:00:00Z", "confirmed", "01890000-0000-7000-8000-000000000000", "\u{0}", "é", "١", "𝟙",
];

/// Generates inputs: sequences of known tokens, and valid inputs with a few changed bytes.
pub(crate) struct Fuzzer(SmallRng);

impl Fuzzer {
    /// A uniformly distributed value.
    pub(crate) fn random<T>(&mut self) -> T
    where
        StandardUniform: Distribution<T>,
    {
        self.0.random()
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// A sequence of known tokens.
    pub(crate) fn text(&mut self) -> String {
        (0..self.below(8)).map(|_| WORDS[self.below(WORDS.len())]).collect()
    }

    /// A number or an almost valid number.
    pub(crate) fn number(&mut self) -> String {
        let mut number = String::new();
        for _ in 0..=self.below(3) {
            match self.below(3) {
                0 => number.push_str(WORDS[self.below(28)]),
                1 => number.push_str(&self.0.random::<u64>().to_string()),
                _ => number.push_str(&format!("{}.{}", self.below(100), self.below(1_000_000))),
            }
        }
        number
    }

    /// The text with a few bytes removed, repeated, changed or inserted.
    pub(crate) fn mangled(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 if at < bytes.len() => bytes[at] = self.0.random(),
                2 => bytes.truncate(at),
                3 => {
                    let rest = bytes[at..].to_vec();
                    bytes.extend(rest.into_iter().take(64));
                }
                _ => drop(bytes.splice(at..at, self.text().into_bytes())),
            }
        }
        bytes
    }

    /// The mangled text as valid UTF-8.
    pub(crate) fn mangled_text(&mut self, text: &str) -> String {
        String::from_utf8_lossy(&self.mangled(text)).into_owned()
    }
}

/// Runs a target on many inputs and prints how many it accepted.
pub(crate) fn many(name: &str, target: impl Fn(&mut Fuzzer) -> bool) {
    let full = std::env::var("ORDER_ENGINE_CAMPAIGN").is_ok_and(|form| form == "full");
    let seed = std::env::var("ORDER_ENGINE_CAMPAIGN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random::<u64>() >> 16);
    eprintln!("ORDER_ENGINE_CAMPAIGN_SEED={seed}");
    let inputs = if full { 1_000_000 } else { 10_000 };
    let mut fuzzer = Fuzzer(SmallRng::seed_from_u64(seed));
    let accepted = (0..inputs).filter(|_| target(&mut fuzzer)).count();
    eprintln!("{name}: {inputs} inputs, {accepted} accepted");
    assert!(
        0 < accepted && accepted < inputs,
        "{name}: {accepted} of {inputs} accepted, so either acceptance or refusal was never tested"
    );
}

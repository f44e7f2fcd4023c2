//! What must not be shown to anybody who did not bring it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A password, a token, a key: readable only by asking for it. Whatever prints it prints `***`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps that text to itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

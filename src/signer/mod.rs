//! The signer port: the wallet that swaps are paid from. The simulated one is in [`crate::simulation::signer`].

mod verified;

use async_trait::async_trait;
use thiserror::Error;

pub use self::verified::VerifiedSigner;
use crate::domain::swap::{PublicKey, Signature};

/// A wallet that signs messages.
///
/// It signs and nothing else. In particular it sends nothing: a swap is recorded between its signature and its first
/// send, and a signature that comes after the caller's deadline is dropped.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    /// The public key of the wallet, the same for as long as the engine runs.
    fn public_key(&self) -> PublicKey;

    /// The ed25519 signature of exactly these bytes. The caller sets the deadline. The engine verifies the
    /// signatures of a signer that a program provides, see [`VerifiedSigner`].
    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// Why a signer did not sign. The texts are for the log and are not shown to clients; they hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// A rule of the signer forbids the message.
    #[error("the signer refused the message: {0}")]
    Refused(String),
    /// The signer cannot be reached or cannot sign at present.
    #[error("the signer is unavailable: {0}")]
    Unavailable(String),
    /// The signature is not one of that message by that key.
    #[error("the signer returned a signature that does not verify")]
    Invalid,
}

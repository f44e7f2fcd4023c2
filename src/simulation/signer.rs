//! The wallet of the simulation: an ed25519 key in memory.

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::domain::swap::{PublicKey, Signature};
use crate::signer::{SignError, Signer};

/// Signs with a key in memory. It has no `Debug`, because the key is a secret.
pub struct SimulatedSigner {
    key: SigningKey,
    public_key: PublicKey,
}

impl SimulatedSigner {
    /// The wallet with that secret key.
    pub fn new(secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret);
        let public_key =
            PublicKey::from_bytes(&key.verifying_key().to_bytes()).expect("the key of a signing key is valid");
        Self { key, public_key }
    }
}

#[async_trait]
impl Signer for SimulatedSigner {
    fn public_key(&self) -> PublicKey {
        self.public_key
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(Signature(self.key.sign(message).to_bytes()))
    }
}

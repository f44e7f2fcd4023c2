//! A signer whose signatures are verified before they are used.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::swap::{PublicKey, Signature};
use crate::signer::{SignError, Signer};

/// Verifies every signature of another signer.
///
/// The chain is asked about a swap by its signature. If a signer returned the signature of an earlier swap, the outcome of
/// that swap would be recorded for this one. A key in this process cannot do that, so the engine does not wrap its own:
/// a verification takes about a tenth of the CPU time of a simulated order.
pub struct VerifiedSigner(Arc<dyn Signer>);

impl VerifiedSigner {
    /// Verifies the signatures of that signer.
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        Self(signer)
    }
}

#[async_trait]
impl Signer for VerifiedSigner {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signature = self.0.sign(message).await?;
        if self.public_key().verifies(message, signature) { Ok(signature) } else { Err(SignError::Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    /// Signs the same message, whatever it is given.
    struct SignsOnly(&'static [u8]);

    #[async_trait]
    impl Signer for SignsOnly {
        fn public_key(&self) -> PublicKey {
            PublicKey::from_bytes(&SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()).unwrap()
        }

        async fn sign(&self, _: &[u8]) -> Result<Signature, SignError> {
            Ok(Signature(SigningKey::from_bytes(&[1; 32]).sign(self.0).to_bytes()))
        }
    }

    #[tokio::test]
    async fn the_signature_of_another_message_is_refused() {
        let signer = VerifiedSigner::new(Arc::new(SignsOnly(b"earlier")));
        assert!(signer.sign(b"earlier").await.is_ok());
        assert_eq!(signer.sign(b"this").await, Err(SignError::Invalid));
    }
}

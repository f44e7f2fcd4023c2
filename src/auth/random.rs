//! Random texts for secrets, and the digests by which they are recognised.

use sha2::{Digest as _, Sha256};

use crate::domain::secret::Secret;
use crate::store::users::Digest;

/// A text of 256 random bits.
pub(super) fn random_text() -> Secret {
    let mut text = [0; 44];
    let length = five8::encode_32(&rand::random(), &mut text);
    Secret::new(String::from_utf8_lossy(&text[..length.into()]).into_owned())
}

/// The digest of a random text. The text is as random as the digest is long, so the digest needs no salt.
pub(super) fn digest(text: &str) -> Digest {
    Digest(Sha256::digest(text).into())
}

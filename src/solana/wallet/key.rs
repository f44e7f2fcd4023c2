//! The text of a keypair.

use ed25519_dalek::SigningKey;
use thiserror::Error;
use zeroize::Zeroizing;

const LENGTH: usize = 64;

/// Why a text is not a keypair. No part of the text is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Another format.
    #[error("the key is neither a JSON array of 64 bytes, as `solana-keygen` writes it, nor the base58 of 64 bytes")]
    Format,
    /// The public key in the text is not the one of the secret key.
    #[error("the public half of the key does not belong to its secret half; export the key again")]
    Halves,
}

/// Parses a keypair: the 32 bytes of the secret key and the 32 bytes of the public key, as a JSON array or in base58.
pub(super) fn parse(text: &str) -> Result<SigningKey, KeyError> {
    let text = text.trim();
    let bytes = if text.starts_with('[') { array(text) } else { base58(text) };
    let bytes = bytes.ok_or(KeyError::Format)?;
    // A wrong public half would make the engine look up and pay from another account.
    SigningKey::from_keypair_bytes(&bytes).map_err(|_| KeyError::Halves)
}

/// By hand, because a growing list would leave copies of the key behind.
fn array(text: &str) -> Option<Zeroizing<[u8; LENGTH]>> {
    let mut numbers = text.strip_prefix('[')?.strip_suffix(']')?.split(',');
    let mut bytes = Zeroizing::new([0; LENGTH]);
    for byte in bytes.iter_mut() {
        *byte = numbers.next()?.trim().parse().ok()?;
    }
    numbers.next().is_none().then_some(bytes)
}

fn base58(text: &str) -> Option<Zeroizing<[u8; LENGTH]>> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    five8::decode_64(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::swap::Signature;
    use crate::fuzz::many;

    /// A keypair as the Solana CLI writes it.
    pub(crate) fn keypair_text() -> String {
        serde_json::to_string(&keypair().to_vec()).unwrap()
    }

    fn keypair() -> [u8; LENGTH] {
        SigningKey::from_bytes(&[7; 32]).to_keypair_bytes()
    }

    #[test]
    fn a_keypair_is_read_from_an_array_and_from_base58() {
        // A signature has the same length, so its text is the base58 of any 64 bytes.
        let base58 = Signature(keypair()).to_string();
        for text in [keypair_text(), format!(" {}\n", keypair_text().replace(',', ", ")), base58] {
            assert_eq!(parse(&text).unwrap().to_keypair_bytes(), keypair());
        }
    }

    #[test]
    fn another_format_is_refused_without_repeating_the_text() {
        let longer = keypair_text().replace(']', ",1]");
        let shorter = keypair_text().replacen("7,", "", 1);
        let open = keypair_text().replace(']', "");
        let large = keypair_text().replacen('7', "256", 1);
        let negative = keypair_text().replacen('7', "-7", 1);
        let secret_half = SigningKey::from_bytes(&[7; 32]).to_bytes().map(|byte| format!("{byte:02x}")).concat();
        for text in [longer.as_str(), &shorter, &open, &large, &negative, &secret_half, "", "[", "[]", "hunter2"] {
            let Err(error) = parse(text) else { panic!("it is accepted") };
            assert_eq!(error, KeyError::Format);
            assert!(!error.to_string().contains("7,") && !error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_public_half_of_another_key_is_refused() {
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        let bytes = [&keypair()[..32], &other].concat();
        assert_eq!(parse(&serde_json::to_string(&bytes).unwrap()).err(), Some(KeyError::Halves));
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        many("keypairs", |fuzzer| match parse(&fuzzer.mangled_text(&keypair_text())) {
            Ok(key) => {
                assert_eq!(key.to_keypair_bytes(), keypair());
                true
            }
            Err(_) => false,
        });
    }
}

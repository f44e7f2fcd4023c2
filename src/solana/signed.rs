//! What the judge has to know of a signed transaction, read from its bytes.

use solana_hash::Hash;

use crate::domain::swap::Signature;

/// The length of a signature, and of an address or a blockhash.
const SIGNATURE: usize = 64;
const KEY: usize = 32;

/// The blockhash of a transaction with one signature; `None` if the bytes are not one, or have another signature.
///
/// It is read from the bytes, and not stored beside them, so that it is that of the swap that was sent.
pub fn blockhash(bytes: &[u8], signature: Signature) -> Option<Hash> {
    let (&[1], rest) = bytes.split_at_checked(1)? else { return None };
    let (signed, message) = rest.split_at_checked(SIGNATURE)?;
    if signed != signature.0 {
        return None;
    }
    // A version has the highest bit set; a message of the first format begins with the count of signers.
    let first = *message.first()?;
    let header = if first & 0x80 == 0 { message } else { &message[1..] };
    if first & 0x80 != 0 && first != 0x80 {
        return None;
    }
    let (&[_, _, _], rest) = header.split_at_checked(3)? else { return None };
    let (keys, rest) = compact_length(rest)?;
    let (_, rest) = rest.split_at_checked(keys.checked_mul(KEY)?)?;
    let (hash, _) = rest.split_at_checked(KEY)?;
    Some(Hash::new_from_array(hash.try_into().ok()?))
}

/// A length of one byte. A transaction has room for fewer than 128 addresses.
fn compact_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    (length < 0x80).then_some((usize::from(length), rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::solana::transaction::wire;

    /// A message with two accounts and that blockhash, without instructions.
    pub(crate) fn message(is_versioned: bool, blockhash: Hash) -> Vec<u8> {
        let version: &[u8] = if is_versioned { &[0x80] } else { &[] };
        [version, &[1, 0, 1], &[2], &[7; 64], &blockhash.to_bytes(), &[0, 0]].concat()
    }

    #[test]
    fn the_blockhash_of_a_signed_transaction_is_read_in_both_formats() {
        let (hash, signature) = (Hash::new_from_array([5; 32]), Signature([9; 64]));
        for is_versioned in [false, true] {
            assert_eq!(blockhash(&wire(&message(is_versioned, hash), signature), signature), Some(hash));
        }
    }

    #[test]
    fn other_bytes_and_those_of_another_swap_have_no_blockhash() {
        let (hash, signature) = (Hash::new_from_array([5; 32]), Signature([9; 64]));
        let bytes = wire(&message(true, hash), signature);
        assert_eq!(blockhash(&bytes, Signature([8; 64])), None);
        for length in 0..bytes.len() - 2 {
            assert_eq!(blockhash(&bytes[..length], signature), None, "{length}");
        }
        for (at, value) in [(0, 2), (65, 0x81), (69, 0x80), (69, 0x7f)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert_eq!(blockhash(&other, signature), None, "{at}");
        }
    }
}

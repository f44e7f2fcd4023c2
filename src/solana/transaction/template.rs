//! The swap instruction of a venue before the wallet is known: the form in which the adapters of venues and of the chain
//! share it.

use solana_address::Address;
use solana_instruction::Instruction;

use super::intent::SwapIntent;

/// Stands for the wallet.
pub const USER: Address = Address::new_from_array(*b"placeholder for the user account");
/// Stands for the token account that pays.
pub const SOURCE: Address = Address::new_from_array(*b"placeholder for a source account");
/// Stands for the token account that receives.
pub const DESTINATION: Address = Address::new_from_array(*b"placeholder: destination account");

/// The bytes of an instruction with placeholders.
pub fn encode_template(instruction: &Instruction) -> Vec<u8> {
    wincode::serialize(instruction).expect("an instruction holds only addresses and bytes")
}

/// The instruction of those bytes; `None` if they are anything else.
pub fn decode_template(bytes: &[u8]) -> Option<Instruction> {
    wincode::deserialize_exact(bytes).ok()
}

/// The instruction with the accounts of that swap.
pub fn filled(mut template: Instruction, intent: &SwapIntent) -> Instruction {
    let places = [(USER, intent.wallet), (SOURCE, intent.source()), (DESTINATION, intent.destination())];
    for account in &mut template.accounts {
        if let Some((_, address)) = places.iter().find(|(placeholder, _)| *placeholder == account.pubkey) {
            account.pubkey = *address;
        }
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solana::transaction::testing::{Shape, intent, swap, swap_between};

    #[test]
    fn a_template_is_filled_with_the_accounts_of_the_swap() {
        for shape in Shape::ALL {
            let intent = intent(shape);
            let template = swap_between(&intent, [USER, SOURCE, DESTINATION]);
            let read = decode_template(&encode_template(&template)).unwrap();
            assert_eq!(read, template);
            assert_eq!(filled(read, &intent), swap(&intent));
        }
    }

    #[test]
    fn other_bytes_are_no_template() {
        let bytes = encode_template(&swap(&intent(Shape::Tokens)));
        assert_eq!(decode_template(&bytes[1..]), None);
        assert_eq!(decode_template(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(decode_template(&[0xff; 200]), None);
        assert_eq!(decode_template(b""), None);
    }
}

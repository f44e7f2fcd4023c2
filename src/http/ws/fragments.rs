//! Assembles a message from its fragments, within a limit.

use actix_http::ws::Item;
use actix_web::web::{Bytes, BytesMut};

/// The message is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The fragments of one message so far. The codec checks their order.
#[derive(Debug)]
pub(super) struct Fragments {
    max_bytes: usize,
    received: BytesMut,
}

impl Fragments {
    /// No fragments yet; a message has at most `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, received: BytesMut::new() }
    }

    /// Adds a fragment. Returns the message after its last fragment.
    pub(super) fn push(&mut self, item: &Item) -> Result<Option<Bytes>, TooLarge> {
        let (Item::FirstText(part) | Item::FirstBinary(part) | Item::Continue(part) | Item::Last(part)) = item;
        if self.received.len() + part.len() > self.max_bytes {
            return Err(TooLarge);
        }
        self.received.extend_from_slice(part);
        Ok(matches!(item, Item::Last(_)).then(|| self.received.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_assembled_from_its_fragments_up_to_the_limit() {
        let mut fragments = Fragments::new(8);
        let part = |text: &'static str| Bytes::from_static(text.as_bytes());
        for _ in 0..2 {
            assert_eq!(fragments.push(&Item::FirstText(part("one"))), Ok(None));
            assert_eq!(fragments.push(&Item::Continue(part(" by"))), Ok(None));
            assert_eq!(fragments.push(&Item::Last(part(" 1"))), Ok(Some(part("one by 1"))));
        }
        assert_eq!(fragments.push(&Item::FirstText(part("eight ch"))), Ok(None));
        assert_eq!(fragments.push(&Item::Last(part("s"))), Err(TooLarge));
    }
}

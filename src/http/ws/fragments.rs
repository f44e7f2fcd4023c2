//! A message that comes in several frames, put together within a limit.

use actix_http::ws::Item;
use actix_web::web::{Bytes, BytesMut};

/// The message is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The frames of a message so far. That they come in order is seen to by the codec.
#[derive(Debug)]
pub(super) struct Fragments {
    most_bytes: usize,
    so_far: BytesMut,
}

impl Fragments {
    /// None so far, and not more than so many bytes ever.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { most_bytes, so_far: BytesMut::new() }
    }

    /// Takes one more frame; the message, once it is whole.
    pub(super) fn push(&mut self, item: &Item) -> Result<Option<Bytes>, TooLarge> {
        let (Item::FirstText(part) | Item::FirstBinary(part) | Item::Continue(part) | Item::Last(part)) = item;
        if self.so_far.len() + part.len() > self.most_bytes {
            return Err(TooLarge);
        }
        self.so_far.extend_from_slice(part);
        Ok(matches!(item, Item::Last(_)).then(|| self.so_far.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_put_together_from_its_frames_and_never_grows_too_large() {
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

//! Reads the frames of one client, no faster than they are handled.
//!
//! The stream of `actix-web-actors` reads all available bytes before it decodes a frame, so a client that sends small
//! frames faster than they are handled fills the memory. This stream reads only when its buffer holds no complete frame.
//! The rest waits in the bounded buffers of the connection, which then slow the client down.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_http::ws::{Codec, Frame, Message, ProtocolError};
use actix_web::error::PayloadError;
use actix_web::web::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use tokio::task::coop;
use tokio::time::{Instant, Sleep};
use tokio_util::codec::Decoder;

use crate::http::ws::pace::{Pace, TooFast};
use crate::http::ws::pending::PendingCommands;

/// A frame costs one unit of the client's pace per started KiB, so that bytes are limited as well as frames.
const BYTES_PER_UNIT: usize = 1024;

/// The frames of one client, limited to its pace.
pub(super) struct Incoming<S> {
    connection: S,
    codec: Codec,
    // Read and not decoded yet: less than one frame and one read of the connection.
    buffer: BytesMut,
    max_bytes: usize,
    pace: Pace,
    pending: PendingCommands,
    // Set while the client is delayed.
    delay: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl<S> Incoming<S> {
    /// The frames on that connection. A frame that announces more than `max_bytes` is an error.
    pub(super) fn new(connection: S, max_bytes: usize, pace: Pace, pending: PendingCommands) -> Self {
        let codec = Codec::new().max_size(max_bytes);
        Self { connection, codec, buffer: BytesMut::new(), max_bytes, pace, pending, delay: None, ended: false }
    }

    /// Decodes the next frame in the buffer; `None` if the connection must be read first.
    fn decode(&mut self) -> Result<Option<Message>, ProtocolError> {
        check_head(&self.buffer, self.max_bytes)?;
        let before = self.buffer.remaining();
        let Some(frame) = self.codec.decode(&mut self.buffer)? else { return Ok(None) };
        let units = (before - self.buffer.remaining()).div_ceil(BYTES_PER_UNIT);
        let wait = self.pace.spend(units, Instant::now().into_std()).map_err(|TooFast| io::Error::from(TOO_FAST))?;
        self.delay = wait.map(|wait| Box::pin(tokio::time::sleep(wait)));
        Ok(Some(match frame {
            Frame::Text(text) => Message::Text(text.try_into().map_err(|_| io::Error::from(NOT_TEXT))?),
            Frame::Binary(bytes) => Message::Binary(bytes),
            Frame::Continuation(part) => Message::Continuation(part),
            Frame::Ping(payload) => Message::Ping(payload),
            Frame::Pong(payload) => Message::Pong(payload),
            Frame::Close(reason) => Message::Close(reason),
        }))
    }
}

/// The kind of a [`ProtocolError::Io`] that means: the client sends more frames than it may.
pub(super) const TOO_FAST: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// The kind of a [`ProtocolError::Io`] that means: a text frame is not UTF-8.
pub(super) const NOT_TEXT: io::ErrorKind = io::ErrorKind::InvalidData;

/// Checks a frame by its first bytes. The codec would buffer a frame of any length before it refuses it, and would log an
/// error for each fragmented control frame.
fn check_head(buffer: &[u8], max_bytes: usize) -> Result<(), ProtocolError> {
    const FIN: u8 = 0x80;
    const CONTROL: u8 = 0x08;
    if buffer.first().is_some_and(|first| first & (FIN | CONTROL) == CONTROL) {
        return Err(ProtocolError::BadOpCode);
    }
    match announced_length(buffer) {
        Some(length) if usize::try_from(length).is_ok_and(|length| length <= max_bytes) => Ok(()),
        Some(_) => Err(ProtocolError::Overflow),
        None => Ok(()),
    }
}

/// The payload length that the frame announces; `None` until enough bytes are there (RFC 6455, section 5.2).
fn announced_length(buffer: &[u8]) -> Option<u64> {
    match buffer.get(1)? & 0x7f {
        126 => buffer.get(2..4).map(|mut length| length.get_u16().into()),
        127 => buffer.get(2..10).map(|mut length| length.get_u64()),
        short => Some(short.into()),
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Incoming<S> {
    type Item = Result<Message, ProtocolError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // Counts frames against tokio's cooperative budget: the server polls a session again as long as it has output, and
        // the other connections of the thread would wait until the buffers are empty.
        let budget = ready!(coop::poll_proceed(cx));
        ready!(this.pending.poll_room(cx));
        if let Some(delay) = &mut this.delay {
            ready!(delay.as_mut().poll(cx));
            this.delay = None;
        }
        loop {
            match this.decode() {
                Ok(None) => {}
                Ok(Some(message)) => {
                    budget.made_progress();
                    return Poll::Ready(Some(Ok(message)));
                }
                Err(error) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if this.buffer.is_empty() {
                // An idle socket holds no buffer.
                this.buffer = BytesMut::new();
            }
            match ready!(Pin::new(&mut this.connection).poll_next(cx)) {
                Some(Ok(bytes)) => this.buffer.extend_from_slice(&bytes),
                // The client has disconnected, which is not an error of its frames.
                Some(Err(_)) | None => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;

    /// A frame as a client sends it; its mask is all zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
    }

    fn generous() -> Pace {
        Pace::new(1_000_000)
    }

    type Reads = Rc<Cell<usize>>;

    /// The frames on a connection that delivers these parts, and the number of parts read so far.
    fn incoming(
        parts: Vec<Vec<u8>>,
        pace: Pace,
    ) -> (Incoming<impl Stream<Item = Result<Bytes, PayloadError>> + Unpin>, Reads) {
        let reads = Reads::default();
        let count = reads.clone();
        let connection = stream::iter(parts).map(move |part| {
            count.set(count.get() + 1);
            Ok(Bytes::from(part))
        });
        (Incoming::new(connection, 1_000, pace, PendingCommands::default()), reads)
    }

    async fn first_error(bytes: Vec<u8>) -> ProtocolError {
        // More bytes, which are read if the frame is not refused at its first bytes.
        let parts = std::iter::once(bytes).chain(std::iter::repeat_n(vec![b'x'; 1_000], 100)).collect();
        let (incoming, reads) = incoming(parts, generous());
        let errors = incoming.filter_map(async |message| message.err());
        let error = std::pin::pin!(errors).next().await.unwrap();
        assert!(reads.get() <= 2, "{error} after {} reads", reads.get());
        error
    }

    #[tokio::test]
    async fn no_more_is_read_than_the_frames_that_are_handled() {
        let part = frame(0x81, b"").repeat(1_000);
        let (mut incoming, reads) = incoming(vec![part; 100], generous());
        for handled in 1..=3_500_usize {
            assert_eq!(incoming.next().await.unwrap().unwrap(), Message::Text("".into()));
            assert_eq!(reads.get(), handled.div_ceil(1_000));
            assert!(incoming.buffer.capacity() < 64 * 1024);
        }
    }

    #[tokio::test]
    async fn a_frame_may_arrive_in_single_bytes() {
        let bytes = frame(0x82, b"slow").into_iter().map(|byte| vec![byte]).collect();
        let (mut incoming, _) = incoming(bytes, generous());
        assert_eq!(incoming.next().await.unwrap().unwrap(), Message::Binary("slow".into()));
        assert!(incoming.next().await.is_none());
    }

    #[tokio::test]
    async fn a_flood_of_frames_yields_the_thread_to_other_tasks() {
        let (mut incoming, _) = incoming(vec![frame(0x89, b"").repeat(10_000)], generous());
        let (mut at_once, mut most) = (0, 0);
        std::future::poll_fn(|cx| {
            at_once = 0;
            while let Poll::Ready(frame) = incoming.poll_next_unpin(cx) {
                if frame.is_none() {
                    return Poll::Ready(());
                }
                at_once += 1;
                most = most.max(at_once);
            }
            Poll::Pending
        })
        .await;
        assert!(most <= 128, "{most}");
    }

    #[tokio::test]
    async fn an_invalid_frame_is_refused_before_it_is_buffered() {
        let huge = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        for bytes in [huge(1 << 40), huge(u64::MAX), huge(1_001), [0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0].to_vec()] {
            assert!(matches!(first_error(bytes).await, ProtocolError::Overflow));
        }
        for bytes in [
            frame(0x80, b"nothing begun"),
            frame(0x00, b"nothing begun"),
            [frame(0x01, b"begun"), frame(0x81, b"twice")].concat(),
            frame(0x09, b"a ping in parts"),
            frame(0x83, b"no such kind"),
            frame(0xc1, b"no such extension"),
            vec![0x81, 5, b'p', b'l', b'a', b'i', b'n'],
            frame(0x88, b"x"),
        ] {
            let shown = format!("{bytes:?}");
            assert!(!matches!(first_error(bytes).await, ProtocolError::Overflow), "{shown}");
        }
        let error = first_error(frame(0x81, &[0xff, 0xfe])).await;
        assert!(matches!(error, ProtocolError::Io(error) if error.kind() == NOT_TEXT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_over_its_pace_is_delayed_and_then_refused() {
        let (mut incoming, reads) = incoming(vec![frame(0x89, b""); 10_000], Pace::new(60));
        for _ in 0..61 {
            assert!(incoming.next().now_or_never().is_some());
        }
        let before = reads.get();
        assert!(incoming.next().now_or_never().is_none(), "it is delayed");
        assert_eq!(reads.get(), before, "and nothing is read meanwhile");
        let mut errors = Box::pin(incoming.filter_map(async |message| message.err()));
        assert!(matches!(errors.next().await, Some(ProtocolError::Io(error)) if error.kind() == TOO_FAST));
        assert!(reads.get() < before + 20, "the rest is not read");
    }
}

//! The close codes of a WebSocket, and how it is closed.

use actix::prelude::*;
use actix_web_actors::ws::{CloseCode, CloseReason, WebsocketContext};

/// A close code and its reason.
pub(super) type Close = (CloseCode, &'static str);

pub(super) const GOING_AWAY: Close = (CloseCode::Away, "the engine is shutting down");
pub(super) const ENDED: Close = (CloseCode::Normal, "the order has ended");
pub(super) const IDLE: Close = (CloseCode::Normal, "no subscription and no message for too long");
pub(super) const UNAVAILABLE: Close = (CloseCode::Again, "try again later");
pub(super) const TOO_MANY_MISTAKES: Close = (CloseCode::Policy, "too many invalid messages");
pub(super) const TOO_LARGE: Close = (CloseCode::Size, "the message is too large");
pub(super) const TOO_FAST: Close = (CloseCode::Policy, "more frames than a client may send");
pub(super) const NOT_TEXT: Close = (CloseCode::Invalid, "a text frame is not UTF-8");
pub(super) const NO_WEBSOCKET: Close = (CloseCode::Protocol, "not a valid WebSocket frame");
pub(super) const UNKNOWN_ORDER: Close = (CloseCode::Other(4404), "there is no such order");
pub(super) const UNREADABLE_ORDER: Close = (CloseCode::Other(4503), "the order cannot be read");
pub(super) const TOO_SLOW: Close = (CloseCode::Other(4408), "too slow: resume with afterSeq");
pub(super) const SIGNED_OUT: Close = (CloseCode::Other(4401), "the login has ended");
pub(super) const SILENT: Close = (CloseCode::Other(4408), "no answer to pings");

/// Sends a close frame and stops the actor.
pub(super) fn close<S>((code, description): Close, ctx: &mut WebsocketContext<S>)
where
    S: Actor<Context = WebsocketContext<S>>,
{
    ctx.close(Some(CloseReason { code, description: Some(description.to_owned()) }));
    ctx.stop();
}

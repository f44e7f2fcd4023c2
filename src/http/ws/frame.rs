//! The messages from a client of a WebSocket for many orders.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::id::{ClientKey, OrderId};
use crate::http::extract::fields::FieldReader;
use crate::http::problem::{Problem, shown};
use crate::http::ws::query::{parse_order_id, take_after_seq};

/// The client's own id of a message, a short string or number; the answer repeats it as it was written.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct RequestId(Box<RawValue>);

/// A parsed message.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) request_id: Option<RequestId>,
    pub(super) command: Result<Command, Problem>,
}

/// A command of a client.
#[derive(Debug)]
pub(super) enum Command {
    /// Follows an order from after the last update that the client has.
    Subscribe { id: OrderId, after_seq: u32 },
    /// Follows all of the owner's orders.
    SubscribeAll,
    /// Ends the subscription to one order.
    Unsubscribe(OrderId),
    /// Ends the subscription to all orders; those to single orders stay.
    UnsubscribeAll,
    /// Asks for a pong.
    Ping,
    /// Submits an order, which is parsed like the body of a request.
    Submit { order: Box<RawValue>, key: Option<ClientKey> },
    /// Cancels an order.
    Cancel(OrderId),
}

impl Frame {
    /// Parses a message. The request id is kept also where the command is wrong.
    pub(super) fn parse(text: &[u8]) -> Self {
        match FieldReader::of_json("the message", text) {
            Ok(mut fields) => {
                let request_id = RequestId::take(&mut fields);
                let command = take_command(&mut fields);
                Self { request_id, command: fields.finish(command) }
            }
            Err(problem) => Self { request_id: None, command: Err(problem) },
        }
    }
}

impl RequestId {
    const MAX_LENGTH: usize = 128;

    fn take(fields: &mut FieldReader) -> Option<Self> {
        let raw = fields.take_raw("requestId")?;
        let text = raw.get();
        let is_plain = matches!(text.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'));
        // Two more, for the quotes of a string.
        if is_plain && text.len() <= Self::MAX_LENGTH + 2 {
            return Some(Self(raw));
        }
        fields.error("requestId", format!("must be a string or a number of up to {} characters", Self::MAX_LENGTH));
        None
    }
}

fn take_command(fields: &mut FieldReader) -> Option<Command> {
    match fields.require(&["type"], |text| Ok(text.to_owned()))?.as_str() {
        "subscribe" => {
            if is_for_all_orders(fields) {
                return Some(Command::SubscribeAll);
            }
            let after_seq = take_after_seq(fields);
            let id = fields.require(&["orderId"], parse_order_id)?;
            Some(Command::Subscribe { id, after_seq })
        }
        "unsubscribe" => {
            if is_for_all_orders(fields) {
                return Some(Command::UnsubscribeAll);
            }
            fields.require(&["orderId"], parse_order_id).map(Command::Unsubscribe)
        }
        "ping" => Some(Command::Ping),
        "submit" => {
            let key = fields.take_one_of(&["idempotencyKey"], |text| text.parse().map_err(str::to_owned));
            let order = fields.take_raw("order");
            if order.is_none() {
                fields.error("order", "is required");
            }
            order.map(|order| Command::Submit { order, key })
        }
        "cancel" => fields.require(&["orderId"], parse_order_id).map(Command::Cancel),
        _ => {
            fields.error("type", "must be subscribe, unsubscribe, ping, submit or cancel");
            None
        }
    }
}

/// Whether a subscription has a channel instead of an order. The only channel is that of all orders.
fn is_for_all_orders(fields: &mut FieldReader) -> bool {
    let Some(channel) = fields.take_one_of(&["channel"], |text| Ok(text.to_owned())) else { return false };
    if channel != "orders" {
        fields.error("channel", format!("must be orders, not {}", shown(&channel)));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::many;

    fn wrong_fields(text: &str) -> Vec<String> {
        let problem = Frame::parse(text.as_bytes()).command.unwrap_err();
        problem.details().errors.iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn each_command_is_parsed() {
        let id = "01890000-0000-7000-8000-000000000000";
        let of = |text: &str| Frame::parse(text.replace("ID", id).as_bytes()).command.unwrap();
        assert!(matches!(of(r#"{"type":"subscribe","orderId":"ID"}"#), Command::Subscribe { after_seq: 0, .. }));
        assert!(matches!(
            of(r#"{"type":"subscribe","orderId":"ID","afterSeq":3}"#),
            Command::Subscribe { after_seq: 3, .. }
        ));
        assert!(matches!(of(r#"{"type":"subscribe","channel":"orders"}"#), Command::SubscribeAll));
        assert!(matches!(of(r#"{"type":"unsubscribe","channel":"orders"}"#), Command::UnsubscribeAll));
        assert!(matches!(of(r#"{"type":"unsubscribe","orderId":"ID"}"#), Command::Unsubscribe(_)));
        assert!(matches!(of(r#"{"type":"cancel","orderId":"ID"}"#), Command::Cancel(_)));
        assert!(matches!(of(r#"{"type":"ping"}"#), Command::Ping));
        let submit = of(r#"{"type":"submit","order":{"tokenIn":"SOL"},"idempotencyKey":"k"}"#);
        assert!(matches!(submit, Command::Submit { key: Some(_), .. }));
    }

    #[test]
    fn wrong_fields_are_named_and_the_request_id_is_kept() {
        for (text, fields) in [
            (r"{}", vec!["type"]),
            (r#"{"type":"dance"}"#, vec!["type"]),
            (r#"{"type":"subscribe"}"#, vec!["orderId"]),
            (r#"{"type":"subscribe","orderId":"x","afterSeq":3}"#, vec!["orderId"]),
            (r#"{"type":"subscribe","orderId":"x","afterSeq":-1}"#, vec!["afterSeq", "orderId"]),
            (r#"{"type":"subscribe","channel":"prices"}"#, vec!["channel"]),
            (r#"{"type":"subscribe","channel":"orders","afterSeq":1}"#, vec!["afterSeq"]),
            (r#"{"type":"ping","more":1}"#, vec!["more"]),
            (r#"{"type":"ping","requestId":{}}"#, vec!["requestId"]),
            (r#"{"type":"submit"}"#, vec!["order"]),
        ] {
            assert_eq!(wrong_fields(text), fields, "{text}");
        }
        let frame = Frame::parse(br#"{"type":"dance","requestId":7}"#);
        assert_eq!(serde_json::to_string(&frame.request_id).unwrap(), "7");
        assert_eq!(Frame::parse(b"[]").command.unwrap_err().details().code, "invalid_json");
    }

    #[test]
    fn any_message_is_parsed_without_a_panic_and_its_request_id_is_kept_as_written() {
        const ID: &str = r#""orderId":"01890000-0000-7000-8000-000000000000","requestId":"mine""#;
        many("socket message", |fuzzer| {
            let rest = match fuzzer.below(6) {
                0 => format!(r#""type":"subscribe","afterSeq":{},{ID}"#, fuzzer.below(10)),
                1 => r#""type":"subscribe","channel":"orders","requestId":7"#.to_owned(),
                2 => format!(r#""type":"unsubscribe",{ID}"#),
                3 => r#""type":"ping""#.to_owned(),
                4 => r#""type":"submit","order":{"tokenIn":"SOL"},"idempotencyKey":"k","requestId":-1.5e3"#.to_owned(),
                _ => format!(r#""type":"cancel",{ID}"#),
            };
            let text = match fuzzer.below(8) {
                0 => fuzzer.text().into_bytes(),
                _ => fuzzer.mangled(&format!("{{{rest}}}")),
            };
            let frame = Frame::parse(&text);
            if let Some(RequestId(raw)) = &frame.request_id {
                assert!(raw.get().len() <= RequestId::MAX_LENGTH + 2, "{raw}");
                assert!(text.windows(raw.get().len()).any(|part| part == raw.get().as_bytes()), "{raw}");
            }
            frame.command.is_ok()
        });
    }
}

//! What a client says on a socket for many orders, and how it is answered.

use actix_web::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::views::OrderView;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::Status;
use crate::http::extract::body::{FieldReader, fields};
use crate::http::problem::{FieldError, Problem, shown};

/// The client's own name for a message, given back as it was written: a short string or number.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct RequestId(Box<RawValue>);

impl RequestId {
    const MAX_LENGTH: usize = 128;
}

/// A message as it was understood, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) request_id: Option<RequestId>,
    pub(super) command: Result<Command, Problem>,
}

/// What a client may ask for.
#[derive(Debug)]
pub(super) enum Command {
    /// Follow an order from after what the client has had.
    Subscribe { id: OrderId, after_seq: u32 },
    /// Follow all of one's own orders.
    SubscribeAll,
    /// Follow that order no longer.
    Unsubscribe(OrderId),
    /// Follow only the orders that were subscribed to by name.
    UnsubscribeAll,
    /// Say something.
    Ping,
    /// Submit an order, which is parsed as a body is.
    Submit { order: Box<RawValue>, key: Option<ClientKey> },
    /// Cancel an order.
    Cancel(OrderId),
}

impl Frame {
    /// Reads a message.
    pub(super) fn parse(text: &[u8]) -> Self {
        let wrong = |problem| Self { request_id: None, command: Err(problem) };
        let given = match fields(text) {
            Ok(given) => given,
            Err(reason) => {
                let detail = format!("the message is not a JSON object: {reason}");
                return wrong(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail));
            }
        };
        let mut form = match FieldReader::new(given) {
            Ok(form) => form,
            Err(problem) => return wrong(problem),
        };
        let request_id = match form.take_raw("requestId") {
            None => None,
            Some(raw) if is_short(&raw) => Some(RequestId(raw)),
            Some(_) => {
                form.error(
                    "requestId",
                    format!("must be a string or a number of up to {} characters", RequestId::MAX_LENGTH),
                );
                None
            }
        };
        let command = command(&mut form);
        form.refuse_leftovers();
        match command {
            Some(command) if form.errors.is_empty() => Self { request_id, command: Ok(command) },
            _ => Self { request_id, command: Err(Problem::invalid(form.errors)) },
        }
    }
}

fn is_short(raw: &RawValue) -> bool {
    let text = raw.get();
    let plain = matches!(text.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'));
    plain && text.len() <= RequestId::MAX_LENGTH + 2
}

fn command(form: &mut FieldReader) -> Option<Command> {
    let kind = form.require(&["type"], |text| Ok(text.to_owned()))?;
    let order_id = |text: &str| text.parse::<OrderId>().map_err(|_| "must be a UUID".to_owned());
    let channel = |form: &mut FieldReader| {
        form.take_one_of(&["channel"], |text| match text {
            "orders" => Ok(()),
            _ => Err(format!("{} is no channel; orders is", shown(text))),
        })
    };
    match kind.as_str() {
        "subscribe" => {
            let wrong = form.errors.len();
            if channel(form).is_some() {
                return Some(Command::SubscribeAll);
            }
            let after_seq = form.take_one_of(&["afterSeq"], |text| {
                text.parse().map_err(|_| "must be a whole number from 0".to_owned())
            });
            if form.errors.len() > wrong {
                return None;
            }
            let id = form.require(&["orderId"], order_id)?;
            Some(Command::Subscribe { id, after_seq: after_seq.unwrap_or_default() })
        }
        "unsubscribe" => match channel(form) {
            Some(()) => Some(Command::UnsubscribeAll),
            None => Some(Command::Unsubscribe(form.require(&["orderId"], order_id)?)),
        },
        "ping" => Some(Command::Ping),
        "submit" => {
            let key = form.take_one_of(&["idempotencyKey"], |text| text.parse().map_err(str::to_owned));
            match form.take_raw("order") {
                Some(order) => Some(Command::Submit { order, key }),
                None => {
                    form.error("order", "is required");
                    None
                }
            }
        }
        "cancel" => Some(Command::Cancel(form.require(&["orderId"], order_id)?)),
        _ => {
            form.error("type", "must be subscribe, unsubscribe, ping, submit or cancel");
            None
        }
    }
}

/// What a client is answered; it carries the `requestId` of what it answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply<'a, T> {
    pub(super) r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a RequestId>,
    #[serde(flatten)]
    pub(super) what: T,
}

/// Nothing more to say.
#[derive(Serialize)]
pub(super) struct Empty {}

/// About an order.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct OrderReply {
    pub(super) order_id: OrderId,
}

/// About the channel of all orders.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ChannelReply {
    pub(super) channel: &'static str,
    /// How many orders were open when the client began to follow them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) open_orders: Option<usize>,
}

/// An order as it stands.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct OrderSnapshot {
    pub(super) order_id: OrderId,
    pub(super) status: Status,
    /// Whether this submit made it; not told of a cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<bool>,
    /// What the order's owner should know of what was asked for; not told of a cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warnings: Option<Vec<String>>,
    pub(super) order: OrderView,
}

/// What went wrong.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Mistake")]
pub(in crate::http) struct ErrorReply<'a> {
    code: &'static str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// The number of invalid fields that `errors` does not list.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_errors: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
}

impl<'a> ErrorReply<'a> {
    /// That problem, perhaps about an order.
    pub(super) fn of(problem: &'a Problem, order_id: Option<OrderId>) -> Self {
        let details = problem.details();
        Self {
            code: details.code,
            message: &details.detail,
            retryable: details.retryable,
            errors: &details.errors,
            more_errors: details.more_errors,
            order_id: details.order_id.or(order_id),
        }
    }
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
    fn each_command_is_understood() {
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
    fn what_is_wrong_is_named_and_the_request_id_is_kept() {
        for (text, fields) in [
            (r"{}", vec!["type"]),
            (r#"{"type":"dance"}"#, vec!["type"]),
            (r#"{"type":"subscribe"}"#, vec!["orderId"]),
            (r#"{"type":"subscribe","orderId":"x"}"#, vec!["orderId"]),
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
    fn any_message_is_judged_and_what_it_wants_an_answer_to_is_kept_as_it_was() {
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

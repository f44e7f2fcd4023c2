//! Upgrades to WebSocket. The sockets themselves are in [`crate::http::ws`].

use crate::api::problem::ProblemCode;
use crate::domain::id::OrderId;
use crate::http::openapi::requests;
use crate::http::operation::{Content, Operation, READ, socket};
use crate::http::ws;

/// The socket for many orders.
pub(in crate::http) const MANY: &str = "/ws";

/// The socket for one order.
pub(in crate::http) const ONE: &str = "/ws/orders/{id}";

/// The socket for one order, under `/api`.
pub(in crate::http) const STREAM: &str = "/api/orders/{id}/stream";

/// The socket for the order in the query. `POST` on the same path submits an order.
pub(in crate::http) const EXECUTE: &str = "/api/orders/execute";

pub(super) fn operations() -> Vec<Operation> {
    let id = || [requests::id("order")];
    let all = [
        socket(EXECUTE, READ, ws::by_query).named("followOrderByQuery", "Follow the order of ?orderId="),
        socket(MANY, READ, ws::socket).named("openSocket", "Follow and submit many orders"),
        socket(ONE, READ, ws::by_path).named("followOrder", "Follow an order to its end").takes(id()),
        socket(STREAM, READ, ws::by_path)
            .named("streamOrder", "Follow an order to its end, at an alternative path")
            .takes(id()),
    ];
    let all = all.into_iter().map(|operation| {
        operation
            .described("The messages of the WebSocket are described by /api/asyncapi.json.")
            .takes(requests::of_socket(true))
            .answers_with(101, "the connection is a WebSocket", Content::None)
            .problems([ProblemCode::NoWebsocket, ProblemCode::TooManySockets])
    });
    all.collect()
}

/// The path of the socket for one order.
pub(super) fn path_of(id: OrderId) -> String {
    ONE.replace("{id}", &id.to_string())
}

//! The operations of the API, in one file per group, each beside its handler. The server and the documents are made
//! from [`GROUPS`].

mod account;
mod auth;
mod cancel_all;
mod documents;
pub(in crate::http) mod dry_run;
pub(in crate::http) mod health;
mod keys;
mod operator;
pub(in crate::http) mod order_list;
pub(in crate::http) mod orders;
mod quotes;
pub(in crate::http) mod sockets;
mod stats;
mod tokens;

use crate::http::operation::Group;

/// Every operation that is served, by group.
pub(in crate::http) static GROUPS: [Group; 6] = [
    Group {
        tag: "orders",
        description: "Submit, read, follow and cancel orders.",
        operations: || {
            // The page shows them in this order: what a newcomer tries first, and what cannot be undone last.
            [orders::operations(), order_list::operations(), orders::cancels(), cancel_all::operations()]
                .into_iter()
                .flatten()
                .collect()
        },
    },
    Group {
        tag: "market",
        description: "Tokens and quotes.",
        operations: || [quotes::operations(), tokens::operations()].into_iter().flatten().collect(),
    },
    Group {
        tag: "users",
        description: "Accounts, API keys and tickets.",
        operations: || [auth::operations(), account::operations(), keys::operations()].into_iter().flatten().collect(),
    },
    Group { tag: "sockets", description: "Upgrades to WebSocket.", operations: sockets::operations },
    Group {
        tag: "engine",
        description: "State and figures of the engine.",
        operations: || {
            [stats::operations(), health::operations(), operator::operations()].into_iter().flatten().collect()
        },
    },
    Group { tag: "documents", description: "Descriptions of this API.", operations: documents::operations },
];

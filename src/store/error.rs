//! The errors of the store.

use thiserror::Error;

use crate::domain::id::OrderId;
use crate::domain::user::Owner;

/// Why a batch was not committed. None of its writes is stored, unless the error says that it may be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The database refuses a row of the batch. A retry cannot help.
    #[error("refused: {0}")]
    Refused(String),
    /// The database is not available. The same batch may be committed again.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// The error of the database.
        reason: String,
        /// The commit itself was running, so the batch may be stored.
        maybe_committed: bool,
    },
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The database did not answer. The read may be repeated.
    #[error("the database gave no answer: {0}")]
    NoAnswer(String),
    /// The order is stored in a form that this version cannot read. A retry cannot help.
    #[error(transparent)]
    UnreadableOrder(#[from] Box<UnreadableOrder>),
    /// Another row is stored in a form that this version cannot read; the text names it.
    #[error("{0}")]
    UnreadableRow(String),
}

/// An order that is stored in a form that this version cannot read. It is never run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("order {id} is stored in a way that this version cannot read: {reason}")]
pub struct UnreadableOrder {
    /// The order.
    pub id: OrderId,
    /// The owner; `None` if the owner is not readable either.
    pub owner: Option<Owner>,
    /// Whether a swap of the order may still land.
    pub may_be_live: bool,
    /// What cannot be read.
    pub reason: String,
}

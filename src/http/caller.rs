//! Who asks, and what they may: every route that touches an order takes a [`Caller`].

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use super::problem::Problem;
use crate::domain::user::Owner;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Look at one's own orders, and at quotes.
    Read,
    /// Submit orders and cancel them.
    Trade,
}

/// Whoever sent a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    owner: Owner,
}

impl Caller {
    /// Whose orders these are, if the caller may do that with them; there is no other way to an owner.
    pub(super) fn may(&self, _scope: Scope) -> Result<Owner, Problem> {
        Ok(self.owner)
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self { owner: Owner::Shared }))
    }
}
